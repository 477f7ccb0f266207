package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/postrider/postrider/core"
)

const (
	domain     = "bench.example"
	leastSize  = 256 // of a message that is made up: its header, and a little text
	lineLength = 78  // with CRLF
	dotEvery   = 16  // lines
)

// newMessage returns the message that is sent again and again.
func newMessage(content []byte, recipients int) *core.Message {
	m := &core.Message{From: "sender@" + domain, To: make([]core.Recipient, recipients), Body: core.Bytes(content)}
	for i := range m.To {
		m.To[i].Address = fmt.Sprintf("rcpt%d@%s", i, domain)
	}
	return m
}

// content returns what the flags say is to be sent.
func (f *flags) content() ([]byte, error) {
	if f.file == "" {
		if f.size < leastSize {
			return nil, fmt.Errorf("-size is %d, and %d is the least of a message that is made up: give a smaller one as a -file", f.size, leastSize)
		}
		return newContent(f.size, time.Now()), nil
	}
	content, err := os.ReadFile(f.file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("-file: %w", err)
	case f.sizeGiven && len(content) != f.size:
		return nil, fmt.Errorf("-size is %d, and %s has %s: give one of the two flags, or make them agree", f.size, f.file, plural(len(content), "octet"))
	}
	if err := checkContent(content); err != nil {
		return nil, fmt.Errorf("-file: %s %w", f.file, err)
	}
	return content, nil
}

// checkContent refuses what would not go out as it is: the client makes line ends
// right, and so would send something else than what was to be measured.
func checkContent(content []byte) error {
	if len(content) == 0 {
		return errors.New("is empty: it is to hold header fields, an empty line and text")
	}
	for n, line := range bytes.SplitAfter(content, []byte("\n")) {
		text, ended := bytes.CutSuffix(line, []byte("\r\n"))
		if bytes.ContainsAny(text, "\r\n") {
			return fmt.Errorf("has a CR or an LF alone in or behind line %d: end all lines with CRLF", n+1)
		}
		if !ended && len(line) > 0 {
			return errors.New("has no CRLF behind its last line: end all lines with CRLF")
		}
	}
	return nil
}

// newContent makes up a message of just this size, of which leastSize is the
// least. The first line of its text and some others begin with a dot, which DATA
// has to double.
func newContent(size int, date time.Time) []byte {
	const text = "the quick brown fox jumps over the lazy dog 0123456789 "
	b := make([]byte, 0, size)
	b = fmt.Appendf(b, "From: <sender@%[1]s>\r\nTo: <rcpt0@%[1]s>\r\nSubject: bench\r\nDate: %[2]s\r\nMessage-ID: <1@%[1]s>\r\n\r\n",
		domain, date.Format(time.RFC1123Z))
	for line := 0; len(b) < size; line++ {
		n := min(lineLength, size-len(b))
		if size-len(b)-n == 1 {
			n-- // no line fits into one octet
		}
		for i := range n - len("\r\n") {
			c := text[(line*7+i)%len(text)]
			switch {
			case i == 0 && line%dotEvery == 0:
				c = '.'
			case c == ' ' && (i == 0 || i == n-len("\r\n")-1):
				c = '-' // some servers take white space off there
			}
			b = append(b, c)
		}
		b = append(b, "\r\n"...)
	}
	return b
}

package wire_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/internal/wire"
)

// FuzzReply: whatever a server sends, however often, the reader does not panic
// and keeps its bounds; what it returns does not depend on how the stream was cut
// into reads, nor on timeouts and empty reads between them; and a reply written
// anew is read as the same.
func FuzzReply(f *testing.F) {
	for _, stream := range []string{
		"", "220 mx.example.com ESMTP\r\n", "250-a\r\n250-b\r\n250 c\r\n", dialogue,
		"250\r\n250 \r\n250-\r\n250\r\n", "250-a\r\n550 b\r\n", "250 a\n250 b\n", "250 a\r\r\n", "250 a\rb\r\n",
		"550 5.1.1 a\r\n", "550-5.7.1 a\r\n550 5.7.1 b\r\n", "550 5.01.1\r\n", "550 5.1000.1\r\n", "550 2.-1.7\r\n", "550 5.1.\r\n",
		"2200 a\r\n", "22\r\n", "600 a\r\n", "HTTP/1.1 400 Bad Request\r\n", "\x16\x03\x03\n", "250 \x00\x1b[2J\xff\r\n",
		"250-a\r\n", "250 a", "250",
	} {
		f.Add([]byte(stream), uint16(1), byte(1))
		f.Add([]byte(stream), uint16(2), byte(7))
	}
	f.Add([]byte("x"), uint16(wire.MaxLine+1), byte(255))
	f.Add([]byte("250-\r\n"), uint16(wire.MaxLines+1), byte(255))
	f.Add([]byte("250-"+strings.Repeat("x", 100)+"\r\n"), uint16(800), byte(255))

	f.Fuzz(func(t *testing.T, unit []byte, times uint16, step byte) {
		const most = wire.MaxReply + wire.MaxLine
		stream := bytes.Repeat(unit, min(int(times), most/max(len(unit), 1)))
		want, wantErr := readReplies(bytes.NewReader(stream))

		rest, turn := stream, 0
		got, err := readReplies(readerFunc(func(p []byte) (int, error) {
			turn++
			switch {
			case turn%3 == 0:
				return 0, nil
			case turn%3 == 1:
				return 0, os.ErrDeadlineExceeded
			case len(rest) == 0:
				return 0, io.EOF
			}
			n := copy(p[:min(len(p), int(step)+1)], rest)
			rest = rest[n:]
			return n, nil
		}))
		equalReplies(t, got, want)
		if err.Error() != wantErr.Error() {
			t.Errorf("cut into reads: %v, in one read: %v", err, wantErr)
		}

		var anew strings.Builder
		for _, reply := range want {
			lines := strings.Split(reply.text, "\n")
			if reply.code < 200 || reply.code > 599 || len(lines) > wire.MaxLines || len(reply.text) > wire.MaxReply {
				t.Errorf("out of bounds: %d, %d lines, %d octets", reply.code, len(lines), len(reply.text))
			}
			for i, line := range lines {
				separator := "-"
				if i == len(lines)-1 {
					separator = " "
				}
				line = strconv.Itoa(reply.code) + separator + line + "\r\n"
				if len(line) > wire.MaxLine {
					return // it ended in a bare LF, and fitted
				}
				anew.WriteString(line)
			}
		}
		got, err = readReplies(strings.NewReader(anew.String()))
		equalReplies(t, got, want)
		if err != io.EOF {
			t.Errorf("written anew: %v", err)
		}
	})
}

// FuzzGroup: whatever its parts are, a command is taken whole as one line, or
// refused whole.
func FuzzGroup(f *testing.F) {
	f.Add("MAIL FROM:<", "a@example.com", uint16(1), []byte("> SIZE="), int64(1000))
	f.Add("", "", uint16(0), []byte(nil), int64(0))
	f.Add("RCPT TO:<a>\r\n", "", uint16(0), []byte(nil), int64(-1))
	f.Add("RCPT TO:<", "a\r", uint16(1), []byte("\nDATA"), int64(1))
	f.Add("RCPT TO:<", "a", uint16(1), []byte("\n.\n"), int64(1))
	f.Add("RCPT TO:<", "\x00", uint16(1), []byte(">"), int64(1))
	f.Add("AUTH PLAIN ", "A", uint16(wire.MaxCommand-len("AUTH PLAIN =1\r\n")), []byte("="), int64(1))
	f.Add("AUTH PLAIN ", "A", uint16(wire.MaxCommand), []byte("="), int64(1))
	f.Add("п", "\u760d\u760a", uint16(2), []byte("\x8d\x8a\xff"), int64(1))

	f.Fuzz(func(t *testing.T, verb, text string, times uint16, octets []byte, n int64) {
		text = strings.Repeat(text, min(int(times), 2*wire.MaxCommand/max(len(text), 1)))
		var g wire.Group
		var want strings.Builder
		end := func(line string) {
			fits := len(line)+len("\r\n") <= wire.MaxCommand
			clean := !strings.ContainsAny(line, "\r\n\x00")
			switch err := g.End(); {
			case fits && clean && err == nil:
				want.WriteString(line + "\r\n")
			case !clean && errors.Is(err, wire.ErrControl):
			case !fits && errors.Is(err, wire.ErrCommandTooLong):
			default:
				t.Errorf("%q: %v", line, err)
			}
		}
		number := strconv.FormatInt(n, 10)

		g.Verb(verb)
		end(verb)
		g.Verb(verb)
		g.Text(text)
		g.Octets(octets)
		g.Int(n)
		end(verb + text + string(octets) + number)
		g.Verb("X ")
		g.Octets(octets)
		g.Text(text)
		end("X " + string(octets) + text)
		g.Verb(number) // left unfinished

		if got := string(g.Bytes()); got != want.String() {
			t.Errorf("the group holds %q, want %q", got, want.String())
		}
	})
}

// FuzzEncoder: what the encoder puts out is what the server gives back by the
// rules of RFC 5321 §4.5.2, line ends made right, for any content, split and
// room; it ends where the content ends; and Refuse means what it says.
func FuzzEncoder(f *testing.F) {
	for _, content := range []string{
		"", "a", "a\r\n", ".", "..", ".\r\n", "\r\n.\r\n", "a\r\n.\r\nb", "a\r\n..b\r\n", "\r", "\n", "\r\r\n", "\n\r", "\r\n\r\n",
		"a\n.\nMAIL FROM:<b>\n", "a\n.\r\nb", "a\r\n.\nb", "a\r.\rb", "a\r.\r\nb", "a\r\n.\rb", "a\n.\rb",
		"a\r\n\x00.\r\nb", "a\r\n.\x00\r\nb", strings.Repeat("x", 1023) + "\r\n.", strings.Repeat(".\r\n", 100), strings.Repeat("x\r", 100),
	} {
		f.Add([]byte(content), uint16(1), uint16(2))
		f.Add([]byte(content), uint16(2), uint16(5))
		f.Add([]byte(content), uint16(1024), uint16(1024))
	}
	f.Fuzz(func(t *testing.T, octets []byte, split, room uint16) {
		content := string(octets)
		normalised := normalise(content)
		at := min(int(split), len(content))
		parts := []string{content[:at], content[at:]}
		room = max(room, 2)

		for _, e := range []wire.Encoder{{Dot: true}, {Dot: true, Refuse: true}, {}, {Refuse: true}} {
			got, err := encode(&e, int(room), parts...)
			if where := bare(content); e.Refuse && where != "" {
				if !errors.Is(err, wire.ErrBareLineEnd) || !strings.HasSuffix(err.Error(), ": "+where) {
					t.Errorf("%+v: got %v, want %v: %s", e, err, wire.ErrBareLineEnd, where)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
			if e.Size() != int64(len(normalised)) {
				t.Errorf("%+v: Size is %d, want %d", e, e.Size(), len(normalised))
			}
			if e.Dot {
				if bare(got) != "" {
					t.Errorf("%+v: %q has a bare %s", e, got, bare(got))
				}
				got = receive(t, got)
			}
			if got != normalised {
				t.Errorf("%+v: got %q, want %q", e, got, normalised)
			}
		}
	})
}

// receive does what a server does with what follows DATA (RFC 5321 §4.5.2), and
// fails the test unless the stream ends with the content.
func receive(t *testing.T, stream string) string {
	var content strings.Builder
	for {
		line, rest, ok := strings.Cut(stream, "\r\n")
		switch {
		case !ok:
			t.Fatalf("the content does not end; %q is left", stream)
		case line == ".":
			if rest != "" {
				t.Fatalf("the content ends early; %q is left", rest)
			}
			return content.String()
		}
		content.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
		stream = rest
	}
}

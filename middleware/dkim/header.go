package dkim

import (
	"bytes"
	"io"
	"strings"
)

const (
	// maxHeader is how long a header may be, in octets. It is held in memory.
	maxHeader = 256 << 10
	// maxFolds is how many lines a field may have. The time that the signer
	// takes for one grows with the square of them.
	maxFolds = 2000
)

var crlf = []byte("\r\n")

// readHeader reads the header of canonical content, with the empty line that
// ends it, and what came with it of the text. With whole unset the content
// ended before the empty line, which was put there.
func readHeader(r io.Reader, buffer []byte) (header, rest []byte, whole bool, err error) {
	p := buffer[:0]
	for empty := 0; ; {
		from := len(p)
		if from == cap(p) {
			if from >= maxHeader {
				return nil, nil, false, refusal("is there an empty line behind the header?", "the header is longer than %d octets", maxHeader)
			}
			p = append(make([]byte, 0, min(2*from, maxHeader)), p...)
		}
		n, err := r.Read(p[from:cap(p)])
		p = p[:from+n]
		if bytes.HasPrefix(p, crlf) {
			return p[:2], p[2:], true, nil
		}
		search := max(from-3, 0) // the end may have begun in what came before
		if i := bytes.Index(p[search:], []byte("\r\n\r\n")); i >= 0 {
			end := search + i + 4
			return p[:end], p[end:], true, nil
		}
		switch {
		case err == io.EOF:
			return append(p, crlf...), nil, false, nil
		case err != nil:
			return nil, nil, false, err
		case n == 0:
			if empty++; empty == 100 {
				return nil, nil, false, io.ErrNoProgress
			}
		}
	}
}

// countFields returns how often each field is in a header, by its name in lower
// case, or why the header is not one that a signature could be made over.
func countFields(header []byte) (map[string]int, error) {
	fields := make(map[string]int)
	folds := 0
	for n := 1; ; n++ {
		line, rest, _ := bytes.Cut(header, crlf)
		header = rest
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if n == 1 {
				return nil, malformed(n)
			}
			if folds++; folds >= maxFolds {
				return nil, refusal("", "a field in the header has more than %d lines", maxFolds)
			}
			continue
		}
		name, _, ok := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t") // RFC 5322 §4.5
		if !ok || !isFieldName(name) {
			return nil, malformed(n)
		}
		fields[strings.ToLower(string(name))]++
		folds = 0
	}
	switch n := fields["from"]; n {
	case 1:
		return fields, nil
	case 0:
		return nil, refusal("a message begins with its header; add the field there", "the message has no From field")
	default:
		return nil, refusal("leave one, with several addresses if need be", "the message has %d From fields", n)
	}
}

func malformed(line int) error {
	return refusal("each field is \"Name: value\", further lines of it begin with a space, and an empty line ends the header", "line %d of the header is no field", line)
}

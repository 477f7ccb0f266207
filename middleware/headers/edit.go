package headers

import (
	"bytes"
	"io"
	"slices"
	"strings"
)

// maxHeader is how long a header may be, in octets. It is held in memory.
const maxHeader = 256 << 10

// readHeader reads the header that content begins with, and the empty line that
// ends it, into p, which it makes longer as need be. It returns what came with it
// of the text, and the error that came with that: it need not come again.
func readHeader(r io.Reader, p []byte) (header, rest []byte, behind, err error) {
	p = p[:0]
	line := 0 // where the last line begins
	for empty := 0; ; {
		if len(p) == cap(p) {
			if len(p) >= maxHeader {
				return nil, nil, nil, refusal("is there an empty line behind the header?", "the header is longer than %d octets", maxHeader)
			}
			p = append(make([]byte, 0, min(max(2*cap(p), 512), maxHeader)), p...)
		}
		from := len(p)
		n, err := r.Read(p[from:cap(p)])
		p = p[:from+n]
		if n > 0 {
			empty = 0
		}
		for from < len(p) {
			i := bytes.IndexByte(p[from:], '\n')
			if i < 0 {
				break
			}
			from += i + 1
			if len(trimLineEnd(p[line:from])) == 0 {
				return p[:from], p[from:], err, nil
			}
			line = from
		}
		switch {
		case err == io.EOF:
			return p, nil, err, nil
		case err != nil:
			return nil, nil, nil, err
		case n == 0:
			if empty++; empty == 100 {
				return nil, nil, nil, io.ErrNoProgress
			}
		}
	}
}

// trimLineEnd returns a line without the CRLF or LF that ends it. A CR alone does
// not end one.
func trimLineEnd(line []byte) []byte {
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	if ended {
		text = bytes.TrimSuffix(text, []byte("\r"))
	}
	return text
}

// edit is what is to be done to one message.
type edit struct {
	stage    *stage
	stamp    *stamp
	from     string // the sender
	set, add []field
}

// apply appends the edited header to out. It reports whether it differs.
func (e *edit) apply(out, header []byte) (edited []byte, changed bool, err error) {
	start := len(out)
	var (
		room             [16]bool
		done             = append(room[:0], make([]bool, len(e.set))...) // of e.set
		hasDate          bool
		hasMessageID     bool
		begun, keepField bool
		end              []byte // the empty line
	)
	for number, rest := 1, header; len(rest) > 0; number++ {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line = rest[:i+1]
		}
		rest = rest[len(line):]
		text := trimLineEnd(line)
		if len(text) == 0 {
			end = line
			break
		}
		if bytes.IndexByte(text, '\r') >= 0 {
			// On the wire it becomes a line end, with a field behind it, say.
			return nil, false, refusal("end lines with CRLF or LF", "line %d of the header has a bare CR", number)
		}
		if text[0] == ' ' || text[0] == '\t' {
			if !begun {
				return nil, false, malformed(number, text)
			}
			if keepField {
				out = append(out, line...)
			}
			continue
		}
		name, _, ok := bytes.Cut(text, []byte(":"))
		name = bytes.TrimRight(name, " \t") // RFC 5322 §4.5
		if !ok || !isFieldName(name) {
			return nil, false, malformed(number, text)
		}
		begun = true
		if keepField = !e.removes(name); !keepField {
			changed = true
			continue
		}
		if i := e.sets(name); i >= 0 {
			keepField, changed = false, true
			if !done[i] {
				out = append(out, e.set[i].lines...)
			}
			done[i] = true
		}
		hasDate = hasDate || is(name, "Date")
		hasMessageID = hasMessageID || is(name, "Message-ID")
		if keepField {
			out = append(out, line...)
		}
	}

	before := len(out)
	add := func(lines string) {
		if len(out) > start && out[len(out)-1] != '\n' {
			out = append(out, '\r', '\n')
		}
		out = append(out, lines...)
	}
	if e.stage.addDate && !hasDate && !e.brings("Date") {
		add(e.stamp.date())
	}
	if e.stage.addMessageID && !hasMessageID && !e.brings("Message-ID") {
		add(e.stamp.messageID(e.stage.idDomain(e.from)))
	}
	for i, f := range e.set {
		if !done[i] && f.lines != "" {
			add(f.lines)
		}
	}
	for _, f := range e.add {
		if f.lines != "" {
			add(f.lines)
		}
	}
	changed = changed || len(out) > before
	return append(out, end...), changed, nil
}

// removes reports whether fields of a name are removed.
func (e *edit) removes(name []byte) bool {
	return slices.ContainsFunc(e.stage.remove, func(n string) bool { return is(name, n) })
}

// sets returns which field of e.set takes the place of those of a name, or -1.
func (e *edit) sets(name []byte) int {
	return slices.IndexFunc(e.set, func(f field) bool { return f.lines != "" && is(name, f.name) })
}

// brings reports whether the configuration has a field of a name for the message.
func (e *edit) brings(name string) bool {
	has := func(f field) bool { return f.lines != "" && strings.EqualFold(f.name, name) }
	return slices.ContainsFunc(e.set, has) || slices.ContainsFunc(e.add, has)
}

// is reports whether two names of fields, both ASCII, are the same.
func is(name []byte, other string) bool {
	return len(name) == len(other) && strings.EqualFold(string(name), other)
}

func malformed(number int, text []byte) error {
	hint := `content begins with its header: each field is "Name: value", further lines of it begin with a space, and an empty line ends the header`
	if number == 1 && bytes.HasPrefix(text, []byte("From ")) {
		hint = `a "From " line belongs to an mbox file, not to the message: cut it off`
	}
	return refusal(hint, "line %d of the header is no field", number)
}

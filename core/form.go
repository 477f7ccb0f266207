package core

import (
	"bytes"

	"github.com/postrider/postrider/core/internal/wire"
)

// Former is implemented by a [Body] that knows its form. A body that does not is
// looked at on its way out, or beforehand where the server's limits demand it.
type Former interface {
	// Form returns the form, and whether it is known.
	Form() (Form, bool)
}

// Form is what the wire needs to know of content.
type Form struct {
	// Canonical: every CR and every LF is part of a CRLF, and the last line is
	// ended by one (RFC 5321 §2.3.8).
	Canonical bool
	// EightBit: there are octets above 127 (RFC 6152).
	EightBit bool
	// Size is the number of octets once line ends are right (RFC 1870 §3).
	Size int64
	// LongestLine is the number of octets in the longest line, its end not
	// counted. A bare CR does not end one here.
	LongestLine int
}

// formOf asks a body for its form.
func formOf(b Body) (Form, bool) {
	if f, ok := b.(Former); ok {
		return f.Form()
	}
	return Form{}, false
}

// scanForm finds out the form of p.
func scanForm(p []byte) Form {
	var (
		encoder wire.Encoder
		scratch [4096]byte
	)
	var m meter
	m.add(p)
	form := Form{EightBit: m.eightBit, LongestLine: m.longest}
	for rest := p; len(rest) > 0; {
		_, n, _ := encoder.Encode(scratch[:0], rest) // cannot fail: it does not refuse
		rest = rest[n:]
	}
	_, _ = encoder.Finish(scratch[:0])
	form.Size = encoder.Size()
	// Whatever is not canonical makes the encoder add an octet.
	form.Canonical = form.Size == int64(len(p))
	return form
}

// meter measures content that passes by.
type meter struct {
	eightBit bool
	line     int  // octets in the last line so far
	cr       bool // the last of them is a CR
	longest  int
}

func (m *meter) add(p []byte) {
	m.eightBit = m.eightBit || hasEightBit(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		m.line += len(part)
		if len(part) > 0 {
			m.cr = part[len(part)-1] == '\r'
		}
		length := m.line
		if m.cr {
			length-- // of the line end, or soon to be one
		}
		m.longest = max(m.longest, length)
		if i < 0 {
			return
		}
		m.line, m.cr = 0, false
		p = p[i+1:]
	}
}

// Write is add, for io.Copy. It never fails.
func (m *meter) Write(p []byte) (int, error) {
	m.add(p)
	return len(p), nil
}

// hasEightBit reports whether p holds an octet above 127.
func hasEightBit(p []byte) bool {
	for len(p) >= 8 {
		if (p[0]|p[1]|p[2]|p[3]|p[4]|p[5]|p[6]|p[7])&0x80 != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c&0x80 != 0 {
			return true
		}
	}
	return false
}

package wire

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrBareLineEnd is a CR without its LF, or an LF without its CR, in content
// for which [Encoder.Refuse] is set. Servers disagree about what a bare one
// ends, which is how SMTP smuggling works, so none ever passes.
var ErrBareLineEnd = errors.New("bare CR or bare LF in the content")

// Encoder makes content fit for the wire, in one pass and by copying spans.
//
// What comes out holds CR and LF only as CRLF (RFC 5321 §2.3.8), and, if Dot is
// set, has every line that begins with a dot begin with two (RFC 5321 §4.5.2).
// Call [Encoder.Reset], then [Encoder.Encode] until the content is consumed,
// then [Encoder.Finish].
type Encoder struct {
	// Dot doubles the dot at the start of a line and ends the content with a
	// line that holds just a dot.
	Dot bool
	// Refuse makes a bare CR or bare LF an error instead of a CRLF.
	Refuse bool

	midLine bool  // the last octet out did not end a line
	cr      bool  // a CR is held back until what follows it is known
	in      int64 // octets consumed
	size    int64 // octets put out, stuffed dots and the final dot not counted
}

// FinishRoom is the room that [Encoder.Finish] needs at the most.
const FinishRoom = 5

// Reset makes the encoder ready for new content.
func (e *Encoder) Reset() {
	e.midLine, e.cr, e.in, e.size = false, false, 0, 0
}

// Size returns how many octets the content so far has once its line ends are
// right: stuffed dots and the terminating dot are not counted. It is the number
// that the SIZE parameter (RFC 1870 §3) and BDAT speak of.
func (e *Encoder) Size() int64 { return e.size }

// lookahead is how far Encode looks for the end of a span. A line has at most
// 1,000 octets (RFC 5321 §4.5.3.1.6). Without a bound, content full of bare CRs
// would cost a scan of all the rest for each of them.
const lookahead = 1024

// Encode appends to dst, within its capacity, what src becomes, and returns dst
// extended and how much of src was consumed. It stops when src is consumed or
// when fewer than two octets of room are left. The error is [ErrBareLineEnd]
// with the offset in the whole content.
func (e *Encoder) Encode(dst, src []byte) (out []byte, consumed int, err error) {
	whole := len(src)
	for len(src) > 0 && cap(dst)-len(dst) >= 2 {
		n := 1
		switch c := src[0]; {
		case e.cr && c != '\n' && e.Refuse:
			return dst, whole - len(src), bareError("CR", e.in-1)
		case e.cr && c != '\n': // the CR held back is a line end of its own
			dst = e.endLine(dst)
			n = 0
		case c == '\n' && !e.cr && e.Refuse:
			return dst, whole - len(src), bareError("LF", e.in)
		case c == '\n':
			dst = e.endLine(dst)
		case c == '\r':
			e.cr = true
		case c == '.' && e.Dot && !e.midLine:
			dst = append(dst, '.', '.')
			e.size++
			e.midLine = true
		default:
			room := cap(dst) - len(dst)
			n = e.span(src[:min(len(src), room, lookahead)])
			dst = append(dst, src[:n]...)
			e.size += int64(n)
			e.midLine = src[n-1] != '\n'
		}
		src = src[n:]
		e.in += int64(n)
	}
	return dst, whole - len(src), nil
}

// span returns how much of the start of p goes out as it is: up to a CR or LF
// that may be bare, or to a dot that must be doubled. Lines that end in CRLF are
// part of it. p must begin with an octet that goes out as it is.
func (e *Encoder) span(p []byte) (n int) {
	for {
		lf := bytes.IndexByte(p[n:], '\n')
		line := p[n:]
		if lf >= 0 {
			line = line[:lf]
		}
		cr := bytes.IndexByte(line, '\r')
		switch {
		case cr >= 0 && cr == lf-1: // a whole line
			n += lf + 1
		case cr >= 0:
			return n + cr
		default:
			return n + len(line)
		}
		if n == len(p) || p[n] == '.' && e.Dot {
			return n
		}
	}
}

// Finish appends what ends the content: the line end if the last line lacks
// one, and the final dot under Dot. Empty content gets no line end (RFC 5321
// §4.1.1.4: the CRLF that ends the DATA command begins the final dot's line).
// dst needs [FinishRoom] octets of room or grows.
func (e *Encoder) Finish(dst []byte) ([]byte, error) {
	if e.cr && e.Refuse {
		return dst, bareError("CR", e.in-1)
	}
	if e.cr || e.midLine {
		dst = e.endLine(dst)
	}
	if e.Dot {
		dst = append(dst, '.', '\r', '\n')
	}
	return dst, nil
}

func (e *Encoder) endLine(dst []byte) []byte {
	e.cr, e.midLine = false, false
	e.size += 2
	return append(dst, '\r', '\n')
}

func bareError(octet string, offset int64) error {
	return fmt.Errorf("%w: %s at offset %d", ErrBareLineEnd, octet, offset)
}

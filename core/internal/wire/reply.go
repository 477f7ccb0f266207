package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Bounds of a reply. RFC 5321 §4.5.3.1.5 asks for 512 octets a line; servers
// exceed it, and a challenge of AUTH may (RFC 4954 §4 deems 12,288 enough for
// every mechanism in use), so the bounds are generous, but they are bounds: a
// server cannot make a client hold more than this.
const (
	MaxLine  = 12288     // octets in one reply line, line end included
	MaxLines = 1000      // lines in one reply
	MaxReply = 64 * 1024 // octets in the text of one reply
)

// Errors of a [Reader]. After any of them the stream cannot be read further:
// where the next reply begins is no longer known.
var (
	ErrLineTooLong  = errors.New("reply line too long")
	ErrTooManyLines = errors.New("reply has too many lines")
	ErrTooLong      = errors.New("reply too long")
	ErrCodeMismatch = errors.New("codes differ within one reply")
)

// A SyntaxError is a line that is not a line of an SMTP reply.
type SyntaxError struct {
	Line []byte // the start of the offending line, at most 128 octets
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("not an SMTP reply: %q", e.Line)
}

// Reply is one reply of a server, RFC 5321 §4.2.
type Reply struct {
	// Code is the three-digit code, 200 to 599.
	Code int
	// Text is what follows the code, without line ends; the lines of a
	// multi-line reply are joined by a line feed. It is valid until the next
	// call to [Reader.Reply].
	Text []byte
}

// Reader reads replies from a stream.
//
// A read that fails with [os.ErrDeadlineExceeded] loses nothing: the next call
// to [Reader.Reply] goes on in the middle of the reply. Every other error is
// final and is returned again by later calls.
type Reader struct {
	src     io.Reader
	buf     []byte
	r, w    int // unread octets are buf[r:w]
	scanned int // buf[r:scanned] holds no line feed
	err     error

	// The reply under way.
	lines int
	code  int
	text  []byte // of a multi-line reply, reused
}

// NewReader returns a Reader of the replies in src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, 2048)}
}

// Buffered returns the number of octets that were read from the stream and do
// not belong to a reply already returned. While no reply is awaited, anything
// but zero means that the server spoke out of turn.
func (r *Reader) Buffered() int { return r.w - r.r }

// Partial reports whether part of a reply has been read.
func (r *Reader) Partial() bool { return r.lines > 0 || r.Buffered() > 0 }

// Reply reads the next reply.
//
// The error is io.EOF when the stream ended between two replies, and
// io.ErrUnexpectedEOF when it ended within one: half a reply is no reply.
func (r *Reader) Reply() (Reply, error) {
	if r.err != nil {
		return Reply{}, r.err
	}
	if r.lines == 0 {
		// Nearly always there is one line, and it is there.
		if i := bytes.IndexByte(r.buf[r.scanned:r.w], '\n'); i >= 0 {
			end := r.scanned + i
			line := r.buf[r.r:end]
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			if code, text, last, ok := parseLine(line); ok && last {
				r.r, r.scanned = end+1, end+1
				return Reply{Code: code, Text: text}, nil
			}
		}
	}
	reply, err := r.reply()
	if err != nil && !isTimeout(err) {
		r.err = err
	}
	return reply, err
}

func (r *Reader) reply() (Reply, error) {
	for {
		line, err := r.line()
		if err != nil {
			if err == io.EOF && r.Partial() {
				err = io.ErrUnexpectedEOF
			}
			return Reply{}, err
		}
		code, text, last, ok := parseLine(line)
		if !ok {
			return Reply{}, &SyntaxError{Line: bytes.Clone(line[:min(len(line), 128)])}
		}
		r.lines++
		switch {
		case r.lines == 1:
			r.code = code
			r.text = r.text[:0]
		case code != r.code:
			return Reply{}, fmt.Errorf("%w: %d and %d", ErrCodeMismatch, r.code, code)
		case r.lines > MaxLines:
			return Reply{}, ErrTooManyLines
		}
		if last && r.lines == 1 {
			r.lines = 0
			return Reply{Code: code, Text: text}, nil
		}
		if r.lines > 1 {
			r.text = append(r.text, '\n')
		}
		r.text = append(r.text, text...)
		if len(r.text) > MaxReply {
			return Reply{}, ErrTooLong
		}
		if last {
			r.lines = 0
			return Reply{Code: code, Text: r.text}, nil
		}
	}
}

// line returns the next line without its line end. It is valid until the next
// call.
func (r *Reader) line() ([]byte, error) {
	for empty := 0; ; {
		if i := bytes.IndexByte(r.buf[r.scanned:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.scanned+i]
			r.r = r.scanned + i + 1
			r.scanned = r.r
			// A bare LF ends a line too: a client that is strict here gains
			// nothing, and some servers send it.
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		r.scanned = r.w
		if r.w-r.r >= MaxLine {
			return nil, ErrLineTooLong
		}
		r.makeRoom()
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			empty = 0
			continue // what came with an error may complete a reply
		}
		if err != nil {
			return nil, err
		}
		if empty++; empty == 100 {
			return nil, io.ErrNoProgress
		}
	}
}

// makeRoom makes sure that there is room behind buf[:w].
func (r *Reader) makeRoom() {
	if r.r == r.w {
		r.r, r.w, r.scanned = 0, 0, 0
		return
	}
	if r.w < len(r.buf) {
		return
	}
	if r.r > 0 {
		n := copy(r.buf, r.buf[r.r:r.w])
		r.r, r.w, r.scanned = 0, n, n
		return
	}
	grown := make([]byte, min(2*len(r.buf), MaxLine))
	copy(grown, r.buf[:r.w])
	r.buf = grown
}

// parseLine splits one reply line, RFC 5321 §4.2:
//
//	Reply-code [ ( SP | "-" ) textstring ]
func parseLine(line []byte) (code int, text []byte, last, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, nil, false, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, nil, true, true
	}
	switch line[3] {
	case ' ':
		return code, line[4:], true, true
	case '-':
		return code, line[4:], false, true
	}
	return 0, nil, false, false
}

// Enhanced returns the enhanced status code at the start of the first line, all
// zero when there is none. It stays in Text too. RFC 3463 §2 and RFC 2034 §4:
//
//	("2" / "4" / "5") "." 1*3DIGIT "." 1*3DIGIT
//
// without leading zeros and followed by a space or the end of the line.
// Anything else is text, and yields all zero.
func (r Reply) Enhanced() (code [3]int) {
	text := r.Text
	if len(text) < 5 || text[0] != '2' && text[0] != '4' && text[0] != '5' || text[1] != '.' {
		return code
	}
	subject, rest, ok := parseNumber(text[2:])
	if !ok || len(rest) == 0 || rest[0] != '.' {
		return code
	}
	detail, rest, ok := parseNumber(rest[1:])
	if !ok || len(rest) > 0 && rest[0] != ' ' && rest[0] != '\n' {
		return code
	}
	return [3]int{int(text[0] - '0'), subject, detail}
}

// parseNumber reads one to three digits without a leading zero.
func parseNumber(s []byte) (n int, rest []byte, ok bool) {
	i := 0
	for ; i < len(s) && isDigit(s[i]); i++ {
		if i == 3 {
			return 0, nil, false
		}
		n = n*10 + int(s[i]-'0')
	}
	if i == 0 || i > 1 && s[0] == '0' {
		return 0, nil, false
	}
	return n, s[i:], true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isTimeout reports whether err is a read deadline that passed: the stream is
// whole, only nothing came in time. A Timeout method says less: the ETIMEDOUT
// of a connection that was lost has one too (see [net.Conn]).
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/postrider/postrider/core/internal/wire"
)

// Body is the content of a message. It opens more than once, as
// http.Request.GetBody does, because a retry, a second endpoint and a signature
// each need another look.
//
// Implementations are safe for concurrent use if the message is sent
// concurrently. One that knows the form of its octets also implements [Former].
type Body interface {
	// Open returns the content from its start, and never nil without an error.
	// Every reader is closed once,
	// and that may happen while a Read is under way: when the context ends,
	// Close is what makes a blocked Read return.
	Open(ctx context.Context) (io.ReadCloser, error)

	// Size returns how many octets Open will yield, or -1 if that is unknown.
	// A body that yields more or fewer is an error, and is not delivered.
	Size() int64
}

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

// openBody opens a body of the caller's.
func openBody(ctx context.Context, b Body) (io.ReadCloser, error) {
	src, err := b.Open(ctx)
	if err == nil && src == nil {
		err = errors.New("Open returned neither a reader nor an error")
	}
	if err != nil {
		return nil, stageError(StageContent, fmt.Errorf("opening the body: %w", err))
	}
	return src, nil
}

// Bytes returns a body that holds p. The octets must not change while a message
// with this body is being sent.
func Bytes(p []byte) Body { return &bytesBody{p: p} }

// String returns a body that holds s.
func String(s string) Body { return &bytesBody{p: []byte(s)} }

type bytesBody struct {
	p    []byte
	form atomic.Pointer[Form] // looked for once
}

func (b *bytesBody) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b.p)), nil
}

func (b *bytesBody) Size() int64 { return int64(len(b.p)) }

func (b *bytesBody) Form() (Form, bool) {
	form := b.form.Load()
	if form == nil {
		f := scanForm(b.p)
		form = &f
		b.form.Store(form)
	}
	return *form, true
}

// File returns a body that is read from the named file each time it is opened.
// The file is streamed, never held in memory.
func File(name string) Body { return fileBody(name) }

type fileBody string

func (b fileBody) Open(context.Context) (io.ReadCloser, error) {
	f, err := os.Open(string(b))
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.IsDir() {
		_ = f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is a folder, not a message", string(b)))
	}
	return f, nil
}

func (b fileBody) Size() int64 {
	info, err := os.Stat(string(b))
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	return info.Size()
}

// Reader returns a body that is read from r, once. Whatever needs a second look
// at it, a retry for example, gets [ErrOneShot] instead: nothing is buffered
// behind the caller's back. If r is an io.Closer it is closed.
func Reader(r io.Reader) Body { return &readerBody{r: r} }

type readerBody struct {
	r    io.Reader
	used atomic.Bool
}

func (b *readerBody) Open(context.Context) (io.ReadCloser, error) {
	if b.used.Swap(true) {
		return nil, errSpent()
	}
	if rc, ok := b.r.(io.ReadCloser); ok {
		return rc, nil
	}
	return io.NopCloser(b.r), nil
}

func errSpent() *Error {
	return localError(StageContent, ErrOneShot, "give the message a body that opens again: core.Bytes, core.File, or core.Render")
}

func (b *readerBody) Size() int64 { return -1 }

// OneShot says that reading the body spends it.
func (b *readerBody) OneShot() bool { return true }

// OneShot reports whether reading the body spends it. A body of the caller's own
// says so with a method OneShot() bool.
func OneShot(b Body) bool {
	o, ok := b.(interface{ OneShot() bool })
	return ok && o.OneShot()
}

// DefaultRenderLimit is the limit of [Render] when none is given: 32 MiB.
const DefaultRenderLimit = 32 << 20

// Render returns a body that w writes: a message of a MIME library, for
// example. It is rendered once, when it is first needed, and kept, since some
// libraries choose a new MIME boundary each time and a retry must send what was
// signed. Rendering more than limit octets is an error; zero means
// [DefaultRenderLimit].
func Render(w io.WriterTo, limit int64) Body {
	if limit <= 0 {
		limit = DefaultRenderLimit
	}
	return &renderedBody{w: w, limit: limit}
}

type renderedBody struct {
	w     io.WriterTo
	limit int64

	once sync.Once
	body *bytesBody
	err  error
}

func (b *renderedBody) render() (*bytesBody, error) {
	b.once.Do(func() {
		b.err = localError(StageContent, errors.New("rendering the body panicked"), "") // should it not return
		buf := &limitedBuffer{left: b.limit}
		_, err := b.w.WriteTo(buf)
		if buf.left < 0 {
			err = errRenderLimit // whatever became of it on the way
		}
		if err != nil {
			b.err = localError(StageContent, fmt.Errorf("rendering the body: %w", err), "")
			return
		}
		b.body, b.err = &bytesBody{p: buf.octets}, nil
	})
	return b.body, b.err
}

func (b *renderedBody) Open(ctx context.Context) (io.ReadCloser, error) {
	body, err := b.render()
	if err != nil {
		return nil, err
	}
	return body.Open(ctx)
}

func (b *renderedBody) Size() int64 {
	body, err := b.render()
	if err != nil {
		return -1
	}
	return body.Size()
}

func (b *renderedBody) Form() (Form, bool) {
	body, err := b.render()
	if err != nil {
		return Form{}, false
	}
	return body.Form()
}

// limitedBuffer has no method but Write: an io.WriterTo would use ReadFrom or
// WriteString if it could, and pass the limit by.
type limitedBuffer struct {
	octets []byte
	left   int64
}

var errRenderLimit = errors.New("larger than the limit given to core.Render: raise it, or write the message to a file and use core.File")

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		b.left = -1 // for good
		return 0, errRenderLimit
	}
	b.octets = append(b.octets, p...)
	return len(p), nil
}

// Segments returns a body that is the given ones, one after the other: a signed
// header in front of a file, without copying the file.
func Segments(bodies ...Body) Body { return segments(bodies) }

type segments []Body

func (s segments) Open(ctx context.Context) (io.ReadCloser, error) {
	return &segmentsReader{ctx: ctx, rest: s}, nil
}

func (s segments) Size() int64 {
	var sum int64
	for _, b := range s {
		n := b.Size()
		if n < 0 {
			return -1
		}
		sum += n
	}
	return sum
}

func (s segments) Form() (Form, bool) {
	all := Form{Canonical: true}
	for i, b := range s {
		f, ok := formOf(b)
		if !ok || !f.Canonical && i < len(s)-1 {
			return Form{}, false // what ends one segment begins the next
		}
		all.Canonical = f.Canonical
		all.EightBit = all.EightBit || f.EightBit
		all.Size += f.Size
		all.LongestLine = max(all.LongestLine, f.LongestLine)
	}
	return all, true
}

func (s segments) OneShot() bool {
	for _, b := range s {
		if OneShot(b) {
			return true
		}
	}
	return false
}

type segmentsReader struct {
	ctx  context.Context
	rest []Body

	mu     sync.Mutex // Close may come while Read is running
	open   io.ReadCloser
	closed bool
}

func (r *segmentsReader) Read(p []byte) (int, error) {
	for {
		current, err := r.current()
		if err != nil {
			return 0, err
		}
		n, err := current.Read(p)
		if err == io.EOF {
			if err = r.next(); n == 0 && err == nil {
				continue
			}
		}
		return n, err
	}
}

// current returns the segment being read, opening it if need be, and io.EOF
// behind the last.
func (r *segmentsReader) current() (io.Reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, os.ErrClosed
	case r.open != nil:
		return r.open, nil
	case len(r.rest) == 0:
		return nil, io.EOF
	}
	open, err := openBody(r.ctx, r.rest[0])
	if err != nil {
		return nil, err
	}
	r.open, r.rest = open, r.rest[1:]
	return open, nil
}

func (r *segmentsReader) next() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return os.ErrClosed
	}
	err := r.open.Close()
	r.open = nil
	return err
}

func (r *segmentsReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.open == nil {
		r.closed = true
		return nil
	}
	r.closed = true
	return r.open.Close()
}

// Canonical returns a body that yields what b becomes on the wire before
// dot-stuffing: every line ended by CRLF. It is what a signature has to be made
// over. A body that is known to be canonical is returned as it is.
func Canonical(b Body) Body {
	if _, ok := b.(canonicalBody); ok {
		return b
	}
	if f, ok := formOf(b); ok && f.Canonical {
		return b
	}
	return canonicalBody{b}
}

type canonicalBody struct{ Body }

func (b canonicalBody) Open(ctx context.Context) (io.ReadCloser, error) {
	src, err := openBody(ctx, b.Body)
	if err != nil {
		return nil, err
	}
	return &canonicalReader{src: src}, nil
}

func (b canonicalBody) Size() int64 {
	if f, ok := formOf(b.Body); ok {
		return f.Size
	}
	return -1
}

func (b canonicalBody) Form() (Form, bool) {
	f, ok := formOf(b.Body)
	f.Canonical = true
	return f, ok
}

func (b canonicalBody) OneShot() bool { return OneShot(b.Body) }

type canonicalReader struct {
	src     io.ReadCloser
	encoder wire.Encoder
	in      []byte // read and not yet encoded
	out     []byte // encoded and not yet handed out
	inBuf   []byte
	outBuf  []byte
	err     error // of src; io.EOF once the end has been encoded too
}

func (r *canonicalReader) Read(p []byte) (int, error) {
	for empty := 0; len(r.out) == 0; empty++ {
		switch {
		case r.err != nil:
			return 0, r.err
		case empty == 100:
			return 0, io.ErrNoProgress
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *canonicalReader) fill() {
	if r.outBuf == nil {
		r.inBuf, r.outBuf = make([]byte, 16<<10), make([]byte, 0, 16<<10)
	}
	if len(r.in) == 0 {
		n, err := r.src.Read(r.inBuf)
		r.in, r.err = r.inBuf[:n], err
	}
	var n int
	r.out, n, _ = r.encoder.Encode(r.outBuf[:0], r.in)
	r.in = r.in[n:]
	switch {
	case len(r.in) > 0 && r.err == io.EOF:
		r.err = nil // the next call asks again, and gets it again
	case r.err == io.EOF:
		r.out, _ = r.encoder.Finish(r.out)
	}
}

func (r *canonicalReader) Close() error { return r.src.Close() }

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

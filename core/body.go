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

// openBody opens a body of the caller's.
func openBody(ctx context.Context, b Body) (src io.ReadCloser, err error) {
	defer contain("the message's body", &err)
	src, err = b.Open(ctx)
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

// Spent reports whether the body has been read.
func (b *readerBody) Spent() bool { return b.used.Load() }

// OneShot reports whether reading the body spends it. A body of the caller's own
// says so with a method OneShot() bool.
func OneShot(b Body) bool {
	o, ok := b.(interface{ OneShot() bool })
	return ok && o.OneShot()
}

// Spent reports whether the body can be read only once, and has been. A body of the
// caller's own that has OneShot says so with a method Spent() bool: no transaction is
// begun with it then. One that wraps another asks that.
func Spent(b Body) bool {
	s, ok := b.(interface{ Spent() bool })
	return ok && s.Spent()
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

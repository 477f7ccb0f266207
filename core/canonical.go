package core

import (
	"context"
	"io"

	"github.com/postrider/postrider/core/internal/wire"
)

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
func (b canonicalBody) Spent() bool   { return Spent(b.Body) }

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

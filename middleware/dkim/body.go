package dkim

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"strings"

	"github.com/postrider/postrider/core"
)

// measured is a body that is looked at while it is read for the signature.
type measured struct {
	core.Body
	size int64
	last byte
	hash maphash.Hash
}

func newMeasured(b core.Body) *measured { return &measured{Body: b} }

// Form passes on what the body knows, so that one that is canonical is not made
// so once more.
func (m *measured) Form() (core.Form, bool) {
	if f, ok := m.Body.(core.Former); ok {
		return f.Form()
	}
	return core.Form{}, false
}

func (m *measured) Open(ctx context.Context) (io.ReadCloser, error) {
	src, err := m.Body.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &measuredReader{ReadCloser: src, m: m}, nil
}

type measuredReader struct {
	io.ReadCloser
	m *measured
}

func (r *measuredReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.m.size += int64(n)
		r.m.last = p[n-1]
		_, _ = r.m.hash.Write(p[:n])
	}
	return n, err
}

// signedBody is content with signatures in front. Its octets are the original
// ones, and not those of their canonical form, so that core.Config.LineEnds
// still decides about bare line ends; what comes of them on the wire is what was
// signed.
type signedBody struct {
	original core.Body
	front    string // the signatures
	tail     string // what ends the header, if the original does not
	size     int64  // of the original
	seed     maphash.Seed
	sum      uint64
	form     core.Form // of it all
}

func newSignedBody(fields string, m *measured, l *lines, whole bool) *signedBody {
	b := &signedBody{original: m.Body, front: fields, size: m.size, seed: m.hash.Seed(), sum: m.hash.Sum64()}
	if !whole {
		b.tail = "\r\n"
		if m.last != '\n' && m.last != '\r' {
			b.tail = "\r\n\r\n" // the first ends the line
		}
	}
	b.form = core.Form{
		Canonical:   l.size == m.size, // making it so adds octets and takes none away
		EightBit:    l.eightBit,
		Size:        int64(len(fields)) + l.size,
		LongestLine: l.longest,
	}
	for line := range strings.SplitSeq(fields, "\r\n") {
		b.form.LongestLine = max(b.form.LongestLine, len(line))
	}
	if !whole {
		b.form.Size += int64(len(crlf))
	}
	return b
}

// Form implements [core.Former]. The content was looked at when it was signed.
func (b *signedBody) Form() (core.Form, bool) { return b.form, true }

// Size implements [core.Body].
func (b *signedBody) Size() int64 { return int64(len(b.front)) + b.size + int64(len(b.tail)) }

// Open implements [core.Body].
func (b *signedBody) Open(ctx context.Context) (io.ReadCloser, error) {
	src, err := b.original.Open(ctx)
	if err != nil {
		return nil, err
	}
	r := &signedReader{body: b, src: src, front: b.front, tail: b.tail}
	r.hash.SetSeed(b.seed)
	return r, nil
}

// signedReader reads a signedBody. Close may come while Read is running, and
// touches nothing but the source.
type signedReader struct {
	body        *signedBody
	src         io.ReadCloser
	front, tail string // what is left of them
	ended       bool   // the source is
	hash        maphash.Hash
}

func (r *signedReader) Read(p []byte) (int, error) {
	if len(r.front) > 0 {
		n := copy(p, r.front)
		r.front = r.front[n:]
		return n, nil
	}
	if !r.ended {
		n, err := r.src.Read(p)
		_, _ = r.hash.Write(p[:n])
		if err != io.EOF {
			return n, err
		}
		r.ended = true
		if r.hash.Sum64() != r.body.sum {
			return n, errChanged
		}
		if n > 0 {
			return n, nil
		}
	}
	n := copy(p, r.tail)
	r.tail = r.tail[n:]
	if n == 0 && len(r.tail) == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *signedReader) Close() error { return r.src.Close() }

var errChanged = &core.Error{Stage: core.StageContent, Class: core.Local,
	Err: errors.New("dkim: the body yields something else than when it was signed"), Hint: "nothing was delivered; let nobody write to it meanwhile"}

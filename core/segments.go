package core

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"
)

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

func (s segments) OneShot() bool { return slices.ContainsFunc(s, OneShot) }
func (s segments) Spent() bool   { return slices.ContainsFunc(s, Spent) }

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

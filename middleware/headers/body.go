package headers

import (
	"context"
	"io"

	"github.com/postrider/postrider/core"
)

// edited returns the body with its header edited, or the body itself if nothing
// is to be changed.
func (s *stage) edited(ctx context.Context, original core.Body, e *edit) (core.Body, error) {
	if core.OneShot(original) {
		return &body{original: original, edit: e, oneShot: true, oldHeader: bufferSize}, nil
	}
	// Segments opens a body as the core does: with whatever its Open does wrong.
	src, err := core.Segments(original).Open(ctx)
	if err != nil {
		return nil, err
	}
	if ctx.Done() == nil {
		defer func() { _ = src.Close() }()
	} else {
		// A body that blocks is woken by being closed.
		stop := context.AfterFunc(ctx, func() { _ = src.Close() })
		defer func() {
			if stop() {
				_ = src.Close()
			}
		}()
	}
	buffer, out := s.buffers.Get().(*[]byte), s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	defer s.buffers.Put(out)
	before, _, _, err := readHeader(src, *buffer)
	if err != nil {
		return nil, readError(ctx, err)
	}
	after, changed, err := e.apply((*out)[:0], before)
	switch {
	case err != nil:
		return nil, err
	case !changed:
		return original, nil
	}
	b := &body{original: original, edit: e, oldHeader: len(before), newHeader: len(after)}
	b.form, b.known = formAfter(original, before, after)
	return b, nil
}

// formAfter returns the form of a body whose header was edited, if it can be told
// without looking at the text.
func formAfter(original core.Body, before, after []byte) (core.Form, bool) {
	former, ok := original.(core.Former)
	if !ok {
		return core.Form{}, false
	}
	form, ok := former.Form()
	if !ok {
		return core.Form{}, false
	}
	was, is := formOf(before), formOf(after) // what is added is canonical, so form.Canonical stays true
	form.Size += is.Size - was.Size
	switch {
	case !form.EightBit, !was.EightBit: // as the text is
		form.EightBit = form.EightBit || is.EightBit
	case !is.EightBit:
		return core.Form{}, false // they may all have been in the header
	}
	switch {
	case form.LongestLine > was.LongestLine: // it is in the text
		form.LongestLine = max(form.LongestLine, is.LongestLine)
	case is.LongestLine >= was.LongestLine:
		form.LongestLine = is.LongestLine
	default:
		return core.Form{}, false
	}
	return form, true
}

// formOf returns the form of a header.
func formOf(p []byte) core.Form {
	form, _ := core.Bytes(p).(core.Former).Form()
	return form
}

// body is content whose header is edited each time it is opened. What is to be
// done to it does not change.
type body struct {
	original             core.Body
	edit                 *edit
	oldHeader, newHeader int // octets
	oneShot              bool
	form                 core.Form
	known                bool // form is
}

// Size implements [core.Body].
func (b *body) Size() int64 {
	size := b.original.Size()
	if size < 0 || b.oneShot {
		return -1
	}
	return size + int64(b.newHeader-b.oldHeader)
}

// Form implements [core.Former].
func (b *body) Form() (core.Form, bool) { return b.form, b.known }

// OneShot says that reading the body spends it, as [core.OneShot] wants it.
func (b *body) OneShot() bool { return b.oneShot }

// Spent says whether that has happened, as [core.Spent] wants it.
func (b *body) Spent() bool { return core.Spent(b.original) }

// Open implements [core.Body].
func (b *body) Open(ctx context.Context) (io.ReadCloser, error) {
	src, err := b.original.Open(ctx)
	if err != nil || src == nil {
		return nil, err
	}
	return &reader{body: b, src: src}, nil
}

// reader reads a body. Close may come while Read is running, and touches nothing
// but the source.
type reader struct {
	body         *body
	src          io.ReadCloser
	begun        bool
	header, text []byte // what is left of the edited header, and of the text that came with it
	err          error  // behind them
}

func (r *reader) Read(p []byte) (int, error) {
	if !r.begun {
		// Not in Open, so that whoever waits for it can close the source.
		r.begun = true
		r.begin()
	}
	switch {
	case len(r.header) > 0:
		n := copy(p, r.header)
		r.header = r.header[n:]
		return n, nil
	case len(r.text) > 0:
		n := copy(p, r.text)
		r.text = r.text[n:]
		return n, nil
	case r.err != nil:
		return 0, r.err
	}
	return r.src.Read(p)
}

// begin reads the header and edits it.
func (r *reader) begin() {
	b := r.body
	before, text, behind, err := readHeader(r.src, make([]byte, 0, b.oldHeader))
	if err != nil {
		r.err = err
		return
	}
	r.text, r.err = text, behind
	r.header, _, err = b.edit.apply(make([]byte, 0, max(b.newHeader, len(before))), before)
	if err != nil {
		r.header, r.text, r.err = nil, nil, err
	}
}

// Close closes the source.
func (r *reader) Close() error { return r.src.Close() }

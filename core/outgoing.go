package core

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/postrider/postrider/core/internal/wire"
)

const (
	// contentBuffer is how much content is encoded between two writes, in
	// octets, and how much is read at a time from a body that is not in memory.
	contentBuffer = 32 << 10
	// unheard is the size in octets up to which content is written without
	// listening for an early reply: the buffers between two hosts take it
	// whether the other side reads or not.
	unheard = 64 << 10
)

// outgoing is content on its way to the server.
type outgoing struct {
	octets   []byte        // the content, if it is in memory
	src      io.ReadCloser // or else where it is read from,
	later    Body          // or what is to be opened when the server waits for it
	declared int64         // how many octets it said it has; -1 if it did not
	size     int64         // the same with line ends made right; -1 if unknown
	sevenBit bool          // the server does not take 8-bit content

	// lastWrite is set when the write begins that holds the last octet of the
	// terminator. From then on the server may have accepted the message.
	lastWrite bool
}

// open opens a body for one transaction.
func (o *outgoing) open(ctx context.Context, b Body) error {
	*o = outgoing{declared: b.Size(), size: -1}
	form, known := formOf(b)
	if known {
		o.size = form.Size
	}
	if inMemory, ok := b.(*bytesBody); ok {
		o.octets = inMemory.p
		return nil
	}
	if isOneShot(b) {
		// An envelope that is refused does not spend the body then.
		o.later = b
		return nil
	}
	return o.openSource(ctx, b)
}

func (o *outgoing) openSource(ctx context.Context, b Body) error {
	src, err := b.Open(ctx)
	if err != nil {
		return stageError(StageContent, fmt.Errorf("opening the body: %w", err))
	}
	o.src, o.later = src, nil
	return nil
}

func (o *outgoing) close() {
	if o.src != nil {
		_ = o.src.Close()
	}
}

// sendContent writes the content of an exchange behind DATA. On return without
// an error the reply is still to be read, unless it is in x.got already.
//
// Content that cannot be finished is never ended as if it were whole: the
// connection is closed without the dot (RFC 5321 §4.1.1.4 has no way to take
// back what DATA has begun).
func (s *Session) sendContent(x *Exchange) (err error) {
	o := x.content
	whole := false
	defer func() {
		if !whole { // also when the body panics
			if err == nil {
				err = localError(StageContent, fmt.Errorf("the content was not finished"), "")
			}
			s.conn.kill(err)
		}
	}()
	s.encoder.Reset()
	s.encoder.Dot, s.encoder.Refuse = true, s.config.LineEnds == RefuseLineEnds
	if s.buffer == nil {
		s.buffer = make([]byte, 0, contentBuffer)
	}
	s.buffer = s.buffer[:0]

	w := &contentWriter{s: s, o: o}
	if o.declared < 0 || o.declared > unheard {
		w.early = s.listen()
	}
	if o.later != nil {
		err = o.openSource(s.conn.ctx, o.later)
	}
	switch {
	case err != nil:
	case o.src != nil:
		err = w.copy()
	default:
		err = w.add(o.octets)
	}
	if err == nil {
		err = w.finish()
	}
	if err == nil && w.early == nil {
		whole = true
		return nil
	}
	reply, unheard := w.hear(err)
	switch {
	case unheard == nil && o.lastWrite && err == nil:
		whole = true
		return s.takeOwned(x, reply)
	case unheard == nil && reply.Code >= 400:
		// The server refused before the end and said so: that counts for more
		// than a broken pipe. The session is out of step.
		x.got = append(x.got, reply)
		return replyError(StageContent, reply)
	case unheard == nil:
		return protocolError(StageContent, "reply %s came before the content was complete", reply)
	case err == nil || err == error(errEarly):
		return unheard
	}
	return err
}

// takeOwned is takeReply for the reply to content that was heard early.
func (s *Session) takeOwned(x *Exchange, reply Reply) error {
	c := &x.sent[len(x.sent)-1]
	switch {
	case reply.Code == 421:
		return s.goodbye(x, reply, StageContent)
	case !c.fits(reply.Code):
		err := protocolError(StageContent, "%s answered with %d", c.name(), reply.Code)
		s.conn.kill(err)
		return err
	}
	x.got = append(x.got, reply)
	return nil
}

// contentWriter encodes content into the session's buffer and writes it out
// when it is full.
type contentWriter struct {
	s     *Session
	o     *outgoing
	in    int64 // octets of the body so far
	early chan earlyReply
}

// copy writes what the body yields.
func (w *contentWriter) copy() error {
	ctx := w.s.conn.ctx
	// A body that blocks is woken by being closed.
	if ctx.Done() != nil {
		src := w.o.src
		stop := context.AfterFunc(ctx, func() { _ = src.Close() })
		defer func() {
			if !stop() {
				w.o.src = nil // closed already
			}
		}()
	}
	if w.s.readBuffer == nil {
		w.s.readBuffer = make([]byte, contentBuffer)
	}
	for empty := 0; ; {
		n, err := w.o.src.Read(w.s.readBuffer)
		if e := ctx.Err(); e != nil {
			return &Error{Stage: StageContent, Class: Temporary, Err: fmt.Errorf("reading the body: %w", contextError(ctx))}
		}
		if n > 0 {
			empty = 0
			if err := w.add(w.s.readBuffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return stageError(StageContent, fmt.Errorf("reading the body: %w", err))
		case n == 0:
			if empty++; empty == 100 {
				return localError(StageContent, fmt.Errorf("reading the body: %w", io.ErrNoProgress), "")
			}
		}
	}
}

// add encodes p, which is the next part of the content.
func (w *contentWriter) add(p []byte) error {
	w.in += int64(len(p))
	if w.o.declared >= 0 && w.in > w.o.declared {
		return w.wrongSize("more than")
	}
	if w.o.sevenBit && hasEightBit(p) {
		return errEightBit()
	}
	s := w.s
	for {
		var (
			n   int
			err error
		)
		s.buffer, n, err = s.encoder.Encode(s.buffer, p)
		if err != nil {
			return localError(StageContent, err, "send lines that end in CRLF, or use NormalizeLineEnds")
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// finish ends the content, if it is all there.
func (w *contentWriter) finish() error {
	if w.o.declared >= 0 && w.in < w.o.declared {
		return w.wrongSize("fewer than")
	}
	s := w.s
	if cap(s.buffer)-len(s.buffer) < wire.FinishRoom {
		if err := w.flush(); err != nil {
			return err
		}
	}
	var err error
	if s.buffer, err = s.encoder.Finish(s.buffer); err != nil {
		return localError(StageContent, err, "send lines that end in CRLF, or use NormalizeLineEnds")
	}
	if early := w.peekEarly(); early {
		return errEarly
	}
	if s.conn.ctx.Err() != nil {
		return &Error{Stage: StageContent, Class: Temporary, Err: fmt.Errorf("before the end of the content: %w", contextError(s.conn.ctx))}
	}
	w.o.lastWrite = true
	return w.flush()
}

func (w *contentWriter) wrongSize(how string) error {
	return localError(StageContent, fmt.Errorf("the body yielded %s the %d octets that its Size declared", how, w.o.declared), "nothing was delivered; make Size and Open agree, or have Size return -1")
}

func (w *contentWriter) flush() error {
	s := w.s
	if !w.o.lastWrite && w.peekEarly() {
		return errEarly
	}
	err := s.conn.write(s.buffer, StageContent, s.config.Timeouts.Write)
	s.buffer = s.buffer[:0]
	return err
}

// errEarly stops the writing when a reply has come before the end.
var errEarly = &Error{Stage: StageContent, Class: Temporary, Err: ErrProtocol}

// peekEarly reports whether a reply was heard.
func (w *contentWriter) peekEarly() bool { return w.early != nil && len(w.early) > 0 }

// earlyReply is what was heard while content was being written.
type earlyReply struct {
	reply Reply
	err   error
}

// listen reads the next reply beside the writing of content, so that a server
// that refuses in the middle is noticed, and so that neither side waits for the
// other for ever. The result is in the channel once; hear fetches it.
func (s *Session) listen() chan earlyReply {
	heard := make(chan earlyReply, 1)
	// There is no time limit until the content is written, but for the writes'.
	s.conn.armed = true
	_ = s.conn.raw.SetReadDeadline(time.Time{})
	if s.conn.ctx.Err() != nil {
		_ = s.conn.raw.SetReadDeadline(past)
	}
	go func() {
		reply, err := s.conn.reader.Reply()
		e := earlyReply{err: err}
		if err == nil {
			e.reply = ownedReply(reply, true)
		}
		_ = s.conn.raw.SetWriteDeadline(past) // wakes a blocked writer
		heard <- e
	}()
	return heard
}

// hear returns the reply to content whose writing is over: it went well, or
// writeErr says how it ended.
func (w *contentWriter) hear(writeErr error) (Reply, error) {
	c, timeout := w.s.conn, w.s.config.Timeouts.Content
	if writeErr != nil {
		timeout = lastWords
		if ClassOf(writeErr) == Local {
			c.kill(writeErr) // nothing that the server says matters any more
		}
	}
	if w.early == nil {
		reply, err := c.readReply(StageContent, timeout)
		return ownedReply(reply, true), err
	}
	_ = c.raw.SetReadDeadline(deadline(timeout))
	if c.ctx.Err() != nil {
		_ = c.raw.SetReadDeadline(past)
	}
	e := <-w.early
	if e.err != nil {
		return Reply{}, c.replyFault(StageContent, e.err, timeout)
	}
	return e.reply, nil
}

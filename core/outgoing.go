package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/postrider/postrider/core/internal/wire"
)

const (
	// contentBuffer is how much content is encoded between two writes, in
	// octets, and how much is read at a time from a body that is not in memory.
	contentBuffer = 32 << 10
	// inlineContent is the size in octets up to which content leaves together
	// with its envelope under CHUNKING, and up to which it is written without
	// listening for an early reply: the buffers between two hosts take it
	// whether the other side reads or not.
	inlineContent = 64 << 10
	// directWrite is how much content that needs no encoding is handed to the
	// connection at a time. Each such write has its own timeout.
	directWrite = 256 << 10
)

// outgoing is content on its way to the server.
type outgoing struct {
	octets   []byte        // the content, if it is in memory
	src      io.ReadCloser // or else where it is read from,
	later    Body          // or what is to be opened when the server waits for it
	declared int64         // how many octets it said it has; -1 if it did not
	size     int64         // the same with line ends made right; -1 if unknown
	raw      bool          // it goes out as it is: no dots, and no line ends to be made right
	in       int64         // octets so far
	refuse   refusals      // what to look for on the way
	meter    meter

	// lastWrite is set when the write begins that holds the last octet of the
	// terminator: of the final dot's line, or of the LAST chunk. From then on
	// the server may have accepted the message.
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
	if OneShot(b) {
		if Spent(b) {
			return errSpent()
		}
		// An envelope that is refused does not spend the body then.
		o.later = b
		return nil
	}
	return o.openSource(ctx, b)
}

func (o *outgoing) openSource(ctx context.Context, b Body) error {
	src, err := openBody(ctx, b)
	if err != nil {
		return err
	}
	o.src, o.later = src, nil
	return nil
}

// read passes the content to add, part by part.
func (o *outgoing) read(ctx context.Context, buffer []byte, add func([]byte) error) error {
	if o.later != nil {
		if err := o.openSource(ctx, o.later); err != nil {
			return err
		}
	}
	if ctx.Done() != nil {
		// A body that blocks is woken by being closed.
		src := o.src
		stop := context.AfterFunc(ctx, func() { _ = src.Close() })
		defer func() {
			if !stop() {
				o.src = nil // closed already
			}
		}()
	}
	for empty := 0; ; {
		n, err := o.readSome(buffer)
		if ctx.Err() != nil {
			return &Error{Stage: StageContent, Class: Temporary, Err: fmt.Errorf("reading the body: %w", contextError(ctx))}
		}
		if n > 0 {
			empty = 0
			if err := o.account(buffer[:n]); err != nil {
				return err
			}
			if err := add(buffer[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && o.declared >= 0 && o.in < o.declared:
			return o.wrongSize("fewer than")
		case err == io.EOF:
			return nil
		case err != nil:
			return stageError(StageContent, fmt.Errorf("reading the body: %w", err))
		case n < 0:
			return localError(StageContent, errors.New("reading the body: Read returned a negative count"), "")
		case n == 0:
			if empty++; empty == 100 {
				return localError(StageContent, fmt.Errorf("reading the body: %w", io.ErrNoProgress), "")
			}
		}
	}
}

func (o *outgoing) readSome(buffer []byte) (n int, err error) {
	defer contain("the message's body", &err)
	return o.src.Read(buffer)
}

// account refuses the next octets of the content if they cannot be sent.
func (o *outgoing) account(p []byte) error {
	o.in += int64(len(p))
	if o.declared >= 0 && o.in > o.declared {
		return o.wrongSize("more than")
	}
	if o.refuse.any() {
		o.meter.add(p)
		return o.refuse.check(o.meter.eightBit, o.meter.longest)
	}
	return nil
}

var errBodySize = errors.New("the body has another size than it says")

func (o *outgoing) wrongSize(how string) error {
	return localError(StageContent, fmt.Errorf("%w: it yielded %s the %d octets that its Size declared", errBodySize, how, o.declared), "nothing was delivered; make Size and Open agree, or have Size return -1")
}

func bareLineEnd(err error) error {
	return localError(StageContent, err, "send lines that end in CRLF, or use NormalizeLineEnds")
}

// inMemory reports whether the whole content is there.
func (o *outgoing) inMemory() bool { return o.src == nil && o.later == nil }

func (o *outgoing) close() {
	if o.src != nil {
		_ = o.src.Close()
	}
}

// sendContent writes the commands in the group and the content behind them. On
// return without an error the replies are still to be read, but for those that
// are in f.got already.
//
// Content that cannot be finished is never ended as if it were whole: the
// connection is closed without the dot or the LAST chunk's end (RFC 5321
// §4.1.1.4 has no way to take back what DATA has begun).
func (s *Session) sendContent(f *flight) (err error) {
	o, command, memory := f.content, &f.sent[len(f.sent)-1], f.w
	whole := false
	defer func() {
		if !whole { // also when the body panics
			if err == nil {
				err = localError(StageContent, errors.New("the content was not finished"), "")
			}
			s.conn.kill(err)
		}
	}()
	if memory.buffer == nil {
		memory.buffer = make([]byte, 0, contentBuffer)
	}
	memory.buffer = append(memory.buffer[:0], memory.group.Bytes()...)

	w := s.contentWriter(f)
	if o.declared < 0 || o.declared > inlineContent || !s.conn.socket {
		w.early = s.listen(memory)
	}
	switch {
	case o.inMemory():
		if err = o.account(o.octets); err == nil {
			err = w.add(o.octets)
		}
	default:
		if memory.readBuffer == nil {
			memory.readBuffer = make([]byte, contentBuffer)
		}
		err = o.read(s.conn.ctx, memory.readBuffer, w.add)
	}
	if err == nil {
		err = w.finish()
	}
	if w.early == nil {
		if err != nil && ClassOf(err) == Temporary {
			return s.afterFailedWrite(f, err)
		}
		whole = err == nil
		return err
	}
	reply, unheard := w.hear(err)
	switch {
	case unheard == nil && err == nil:
		whole = true
		return s.takeReply(f, command, StageContent, reply)
	case unheard == nil && reply.Code >= 400:
		// The server refused before the end and said so: that counts for more
		// than a broken pipe. The session is out of step.
		f.got = append(f.got, reply)
		return replyError(StageContent, reply)
	case unheard == nil:
		return protocolError(StageContent, "reply %s came before the content was complete", reply)
	case err == nil || err == error(errEarly):
		return unheard
	case ClassOf(err) == Temporary && !errors.Is(unheard, os.ErrDeadlineExceeded):
		// The connection failed where it was listened to, and that stopped the
		// writing.
		return unheard
	}
	return err
}

// contentWriter encodes content into a buffer and writes it out
// when it is full.
type contentWriter struct {
	s     *Session
	w     *scratch
	o     *outgoing
	limit int64 // octets that BDAT has announced; -1 under DATA
	ends  bool  // the message ends with this content, not only a chunk of it
	early chan earlyReply
}

// contentWriter begins the content of a flight.
func (s *Session) contentWriter(f *flight) *contentWriter {
	command, w := &f.sent[len(f.sent)-1], &f.w.writer
	dot := command.Verb == EndOfData
	f.w.encoder.Reset()
	f.w.encoder.Dot, f.w.encoder.Refuse = dot, s.config.LineEnds == RefuseLineEnds
	*w = contentWriter{s: s, w: f.w, o: f.content, limit: -1, ends: dot || command.Last}
	if !dot {
		w.limit = command.Size
	}
	return w
}

// add encodes p, which is the next part of the content.
func (w *contentWriter) add(p []byte) error {
	if w.o.raw {
		return w.addRaw(p)
	}
	m := w.w
	for {
		var (
			n   int
			err error
		)
		m.buffer, n, err = m.encoder.Encode(m.buffer, p)
		if err != nil {
			return bareLineEnd(err)
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// addRaw fills the buffer and writes the rest of p past it, but for what finish
// has to end with.
func (w *contentWriter) addRaw(p []byte) error {
	m := w.w
	if room := cap(m.buffer) - len(m.buffer); len(p) > room {
		m.buffer, p = append(m.buffer, p[:room]...), p[room:]
		if err := w.flush(); err != nil {
			return err
		}
		for len(p) > cap(m.buffer) {
			n := min(len(p)-cap(m.buffer)/2, directWrite)
			if err := w.write(p[:n]); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	m.buffer = append(m.buffer, p...)
	return nil
}

// finish ends the content, if it is all there.
func (w *contentWriter) finish() error {
	m := w.w
	if !w.o.raw {
		// The buffer grows if need be: were it written first, there might be
		// nothing left to end the content with, which ended before.
		var err error
		if m.buffer, err = m.encoder.Finish(m.buffer); err != nil {
			return bareLineEnd(err)
		}
	}
	if err := w.checkSize(); err != nil {
		return err
	}
	if w.s.conn.ctx.Err() != nil {
		return &Error{Stage: StageContent, Class: Temporary, Err: fmt.Errorf("before the end of the content: %w", contextError(w.s.conn.ctx))}
	}
	if w.heardEarly() {
		return errEarly
	}
	w.o.lastWrite = w.ends
	p := m.buffer
	m.buffer = m.buffer[:0]
	return w.s.conn.write(p, StageContent, w.s.config.Timeouts.Write)
}

// checkSize refuses content that is complete and has not as many octets as BDAT
// has announced.
func (w *contentWriter) checkSize() error {
	if w.limit < 0 || w.size() == w.limit {
		return nil
	}
	return localError(StageContent, fmt.Errorf("the content has %d octets on the wire, and its Form said %d", w.size(), w.limit), "nothing was delivered; make Form and Open agree")
}

// size returns how many octets the content has on the wire so far, stuffed dots
// not counted.
func (w *contentWriter) size() int64 {
	if w.o.raw {
		return w.o.in
	}
	return w.w.encoder.Size()
}

// flush writes what is in the buffer.
func (w *contentWriter) flush() error {
	p := w.w.buffer
	w.w.buffer = p[:0]
	return w.write(p)
}

// write writes a part of the content that is not its end.
func (w *contentWriter) write(p []byte) error {
	switch {
	case w.limit >= 0 && w.size() > w.limit:
		// One octet more than BDAT has announced would be read as a command.
		return localError(StageContent, fmt.Errorf("the content is longer than the %d octets that its Form said", w.limit), "nothing was delivered; make Form and Open agree")
	case w.heardEarly():
		return errEarly
	}
	return w.s.conn.write(p, StageContent, w.s.config.Timeouts.Write)
}

// errEarly stops the writing when a reply has come before the end.
var errEarly = &Error{Stage: StageContent, Class: Temporary, Err: ErrProtocol}

// heardEarly reports whether a reply has come before the end.
func (w *contentWriter) heardEarly() bool { return len(w.early) > 0 }

// earlyReply is what was heard while content was being written.
type earlyReply struct {
	reply Reply
	err   error
}

// listen reads the next reply beside the writing of content, so that a server
// that refuses in the middle is noticed, and so that neither side waits for the
// other for ever. The result is in the channel once; hear fetches it.
func (s *Session) listen(w *scratch) chan earlyReply {
	if w.heard == nil {
		w.heard = make(chan earlyReply, 1)
		w.hearEarly = func() {
			e := s.hearOne()
			_ = s.conn.raw.SetWriteDeadline(past) // wakes a blocked writer
			w.heard <- e
		}
	}
	// There is no time limit until the content is written, but for the writes'.
	s.conn.share()
	s.conn.stopClock()
	if s.conn.ctx.Err() != nil {
		_ = s.conn.raw.SetReadDeadline(past)
	}
	go w.hearEarly()
	return w.heard
}

// hearOne reads a reply in a goroutine of its own, where a panic has nobody else
// to contain it.
func (s *Session) hearOne() (e earlyReply) {
	defer contain("the transport's connection", &e.err)
	reply, err := s.conn.reader.Reply()
	if err != nil {
		return earlyReply{err: err}
	}
	return earlyReply{reply: ownedReply(reply)}
}

// hear returns what was heard, once the writing is over: it went well, or
// writeErr says how it ended.
func (w *contentWriter) hear(writeErr error) (Reply, error) {
	c, timeout := w.s.conn, w.s.config.Timeouts.Content
	if writeErr != nil {
		timeout = lastWords
		if ClassOf(writeErr) == Local {
			c.kill(writeErr) // nothing that the server says matters any more
		}
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

// render puts the commands of a flight, and its content, which is in memory,
// into the buffer.
func (s *Session) render(f *flight) error {
	w, o := f.w, f.content
	w.buffer = append(w.buffer[:0], w.group.Bytes()...)
	if o == nil {
		return nil
	}
	if err := o.account(o.octets); err != nil {
		return err
	}
	writer := s.contentWriter(f)
	if o.raw {
		w.buffer = append(w.buffer, o.octets...)
		return writer.checkSize()
	}
	for p := o.octets; len(p) > 0; {
		w.buffer = slices.Grow(w.buffer, len(p)+len(p)/32+wire.FinishRoom)
		var n int
		var err error
		if w.buffer, n, err = w.encoder.Encode(w.buffer, p); err != nil {
			return bareLineEnd(err)
		}
		p = p[n:]
	}
	var err error
	if w.buffer, err = w.encoder.Finish(w.buffer); err != nil {
		return bareLineEnd(err)
	}
	return writer.checkSize()
}

package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postrider/postrider/core/internal/wire"
)

// conn is one connection: octets out, replies in, and a clock and a context on
// each.
//
// The raw connection carries all deadlines, TLS or not, so that the context can
// interrupt whatever is blocked on it from another goroutine.
type conn struct {
	raw    net.Conn // never changes
	socket bool     // the system has buffers for it, in both directions
	stream net.Conn // raw, or TLS over it
	reader *wire.Reader

	ctx         context.Context // of the work under way
	stop        func() bool     // ends the watch on ctx
	interrupt   func()          // what the watch calls
	interrupted chan struct{}   // interrupt has run

	timeout time.Duration // for the reply being read
	armed   bool          // its clock has started
	alarm   *alarm        // this, while one goroutine does both
	shared  bool          // another goroutine writes than reads
	clock   replyClock    // and this is what they share

	peek *peek // made when it is first looked at

	dead atomic.Pointer[error] // why the connection is never to be used again
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

func newConn(raw net.Conn) *conn {
	c := &conn{raw: raw, stream: raw, interrupted: make(chan struct{}, 1), ctx: context.Background()}
	c.alarm = newAlarm(raw)
	_, c.socket = raw.(syscall.Conn)
	c.reader = wire.NewReader(replySource{c})
	c.interrupt = func() {
		_ = c.raw.SetDeadline(past)
		c.interrupted <- struct{}{}
	}
	return c
}

// secure puts TLS between the raw connection and the reader.
func (c *conn) secure(stream net.Conn) {
	c.stream = stream
	c.reader = wire.NewReader(replySource{c})
}

// watch makes the end of ctx interrupt the connection until unwatch is called.
// It costs one registration for each piece of work, not for each read.
func (c *conn) watch(ctx context.Context) {
	c.ctx = ctx
	if ctx.Done() != nil {
		c.stop = context.AfterFunc(ctx, c.interrupt)
	}
}

func (c *conn) unwatch() {
	if c.stop != nil && !c.stop() {
		// The interrupt is on its way or has happened. It must not strike the
		// next piece of work.
		<-c.interrupted
		_ = c.raw.SetDeadline(time.Time{})
	}
	c.stop = nil
	c.ctx = context.Background()
}

// narrow replaces the watched context by one that an interceptor derived from
// it. The caller runs what is returned to go back.
func (c *conn) narrow(ctx context.Context) (restore func()) {
	outer := c.ctx
	c.unwatch()
	c.watch(ctx)
	return func() {
		c.unwatch()
		c.watch(outer)
	}
}

// deadline returns the time at which a timeout that starts now ends; zero means
// never.
func deadline(timeout time.Duration) time.Time {
	if timeout < 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

// write writes p within the timeout. The error is nil or an [*Error] of the
// stage.
func (c *conn) write(p []byte, stage Stage, timeout time.Duration) error {
	if c.shared {
		_ = c.raw.SetWriteDeadline(deadline(timeout))
		// A context that ended before the deadline was set has set its own too
		// early; one that ends from here on sets it after ours.
		if c.ctx.Err() != nil {
			_ = c.raw.SetWriteDeadline(past)
		}
	} else {
		c.alarm.start(timeout)
		defer c.stopAlarm()
	}
	_, err := c.stream.Write(p)
	if err != nil {
		return c.fault(stage, "writing", err, timeout)
	}
	return nil
}

// writeContained writes in a goroutine of its own, where a panic has nobody else
// to contain it.
func (c *conn) writeContained(p []byte, timeout time.Duration) (err error) {
	defer contain("the transport's connection", &err)
	return c.write(p, StageContent, timeout)
}

// readReply reads one reply within the timeout, which starts when the reply
// before it was complete: that is now.
func (c *conn) readReply(stage Stage, timeout time.Duration) (wire.Reply, error) {
	c.timeout, c.armed = timeout, false
	reply, err := c.reader.Reply()
	if c.armed && !c.shared {
		c.stopAlarm()
	}
	if err != nil {
		return wire.Reply{}, c.replyFault(stage, err, timeout)
	}
	return reply, nil
}

// replyFault explains why a reply could not be read.
func (c *conn) replyFault(stage Stage, err error, timeout time.Duration) *Error {
	var bad *wire.SyntaxError
	switch {
	case errors.As(err, &bad), errors.Is(err, wire.ErrCodeMismatch), errors.Is(err, wire.ErrLineTooLong),
		errors.Is(err, wire.ErrTooManyLines), errors.Is(err, wire.ErrTooLong):
		return protocolError(stage, "%w", err)
	}
	return c.fault(stage, "waiting for the reply", err, timeout)
}

// replySource is the reader's source: it starts the clock of a reply when the
// reply first makes it wait.
type replySource struct{ c *conn }

func (s replySource) Read(p []byte) (int, error) {
	c := s.c
	if c.shared {
		return c.readShared(p)
	}
	if !c.armed {
		c.armed = true
		c.alarm.start(c.timeout)
	}
	return c.stream.Read(p)
}

// stopAlarm ends a wait, and leaves the deadlines as the context wants them.
func (c *conn) stopAlarm() {
	if c.alarm.stop() && c.ctx.Err() != nil {
		_ = c.raw.SetDeadline(past)
	}
}

// fault explains an error of the connection. A deadline is the caller's if its
// context has ended, and the stage's otherwise.
func (c *conn) fault(stage Stage, doing string, err error, timeout time.Duration) *Error {
	e := &Error{Stage: stage, Class: Temporary}
	switch {
	case c.ctx.Err() != nil:
		e.Err = fmt.Errorf("%s: %w", doing, contextError(c.ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Err = fmt.Errorf("%s: %w after %v", doing, os.ErrDeadlineExceeded, timeout)
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		e.Err = fmt.Errorf("%w: the server closed the connection while %s: %w", ErrDisconnected, doing, err)
	default:
		e.Err = fmt.Errorf("%w while %s: %w", ErrDisconnected, doing, err)
	}
	return e
}

// contextError returns why ctx ended, such that both errors.Is with
// context.Canceled or context.DeadlineExceeded and the caller's cause work.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// hears reports whether anything arrives on an idle connection within a moment,
// and be it the end of the stream.
func (c *conn) hears(moment time.Duration) bool {
	_ = c.raw.SetReadDeadline(time.Now().Add(moment))
	var octet [1]byte
	_, err := c.stream.Read(octet[:])
	_ = c.raw.SetReadDeadline(time.Time{})
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// kill closes the connection for good. The first reason is kept.
func (c *conn) kill(reason error) {
	if c.dead.CompareAndSwap(nil, &reason) {
		_ = c.raw.Close()
		c.alarm.release()
	}
}

// over returns why the connection is never to be used again, or nil.
func (c *conn) over() error {
	if reason := c.dead.Load(); reason != nil {
		return *reason
	}
	return nil
}

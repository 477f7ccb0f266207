package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/postrider/postrider/plugins/internal/wire"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
	transportv1 "github.com/postrider/postrider/plugins/proto/postrider/transport/v1"
)

const (
	// chunk is how many octets go into one message.
	chunk = 32 << 10
	// unsent is how many messages wait to be sent, as octets do in a socket.
	unsent = 4
	// linger is how long a connection that is closed may take to send what it holds,
	// and the plugin to end it.
	linger = time.Second
)

// conn is a connection of a transport. It has two goroutines, one for each direction,
// since neither of gRPC's calls can be left at a deadline. Both end with the stream.
type conn struct {
	stream        connectStream
	cancel        context.CancelCauseFunc
	local, remote net.Addr
	explain       func(error, *pluginv1.Failure) error

	read, write deadline
	reads       chan []byte   // what has come, until ended is closed
	writes      chan []byte   // what is to be sent
	closed      chan struct{} // by Close
	closing     sync.Once
	ended       chan struct{} // with the stream, for the reason in err
	err         error

	reading, writing sync.Mutex
	rest             []byte // of what has come
}

func newConn(stream connectStream, cancel context.CancelCauseFunc, opened *transportv1.Opened, explain func(error, *pluginv1.Failure) error) *conn {
	c := &conn{
		stream: stream, cancel: cancel, explain: explain,
		local: wire.Addr(opened.GetLocalNetwork(), opened.GetLocalAddress()), remote: wire.Addr(opened.GetRemoteNetwork(), opened.GetRemoteAddress()),
		read: newDeadline(), write: newDeadline(),
		reads: make(chan []byte), writes: make(chan []byte, unsent), closed: make(chan struct{}), ended: make(chan struct{}),
	}
	go c.receive()
	go c.send()
	return c
}

// receive takes what comes until the stream ends.
func (c *conn) receive() {
	defer c.cancel(nil)
	defer close(c.ended)
	for {
		response, err := c.stream.Recv()
		if err != nil {
			if c.err = io.EOF; !errors.Is(err, io.EOF) && !done(c.closed) {
				c.err = c.explain(err, nil)
			}
			return
		}
		switch step := response.GetStep().(type) {
		case *transportv1.ConnectResponse_Octets:
			select {
			case c.reads <- step.Octets:
			case <-c.closed:
			}
		case *transportv1.ConnectResponse_Failure:
			c.err = c.explain(nil, step.Failure)
			return
		default:
			c.err = c.explain(errViolation, nil)
			return
		}
	}
}

// send sends what is written, until the stream ends.
func (c *conn) send() {
	for {
		select {
		case octets := <-c.writes:
			if c.sendOctets(octets) != nil {
				return // receive hears why
			}
		case <-c.closed:
			c.sendRest()
			return
		case <-c.ended:
			return
		}
	}
}

// sendRest sends what was written before Close.
func (c *conn) sendRest() {
	for {
		select {
		case octets := <-c.writes:
			if c.sendOctets(octets) != nil {
				return
			}
		default:
			_ = c.stream.CloseSend() // it has no error
			return
		}
	}
}

func (c *conn) sendOctets(octets []byte) error {
	return c.stream.Send(&transportv1.ConnectRequest{Step: &transportv1.ConnectRequest_Octets{Octets: octets}})
}

// Read implements [net.Conn].
func (c *conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	over := c.read.over()
	switch {
	case done(c.closed):
		return 0, c.wrap("read", net.ErrClosed)
	case done(over):
		return 0, c.wrap("read", os.ErrDeadlineExceeded)
	}
	for len(c.rest) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		select {
		case c.rest = <-c.reads:
		case <-over:
			return 0, c.wrap("read", os.ErrDeadlineExceeded)
		case <-c.closed:
			return 0, c.wrap("read", net.ErrClosed)
		case <-c.ended:
			return 0, c.wrap("read", c.err)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write implements [net.Conn]. What it returns for was not sent yet: as with a
// socket, a failure to do so is the next call's.
func (c *conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for first := true; first || len(p) > 0; first = false {
		over := c.write.over()
		switch {
		case done(c.closed):
			return n, c.wrap("write", net.ErrClosed)
		case done(over):
			return n, c.wrap("write", os.ErrDeadlineExceeded)
		case done(c.ended):
			return n, c.wrap("write", c.writeError())
		case len(p) == 0:
			return n, nil
		}
		octets := append([]byte(nil), p[:min(len(p), chunk)]...)
		select {
		case c.writes <- octets:
		case <-over:
			return n, c.wrap("write", os.ErrDeadlineExceeded)
		case <-c.closed:
			return n, c.wrap("write", net.ErrClosed)
		case <-c.ended:
			return n, c.wrap("write", c.writeError())
		}
		n, p = n+len(octets), p[len(octets):]
	}
	return n, nil
}

// writeError is why nothing can be written any more.
func (c *conn) writeError() error {
	if c.err == io.EOF {
		return errHungUp
	}
	return c.err
}

// errHungUp is that the server has closed its side: nobody reads.
var errHungUp = errors.New("the other side has closed the connection")

// wrap says what failed, as package net does.
func (c *conn) wrap(op string, err error) error {
	if err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// Close implements [net.Conn]. What was written is still sent, for a second at the
// most.
func (c *conn) Close() error {
	err := c.wrap("close", net.ErrClosed)
	c.closing.Do(func() {
		err = nil
		close(c.closed)
		time.AfterFunc(linger, func() { c.cancel(net.ErrClosed) })
	})
	return err
}

// LocalAddr implements [net.Conn].
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error { return c.set(&c.read, t) }

// SetWriteDeadline implements [net.Conn].
func (c *conn) SetWriteDeadline(t time.Time) error { return c.set(&c.write, t) }

func (c *conn) set(d *deadline, t time.Time) error {
	if done(c.closed) {
		return c.wrap("set", net.ErrClosed)
	}
	d.set(t)
	return nil
}

// done reports whether a channel is closed.
func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

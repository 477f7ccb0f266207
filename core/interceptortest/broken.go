package interceptortest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/postrider/postrider/core"
)

// unreachable is a transport that leads nowhere.
type unreachable struct{ core.Transport }

func (unreachable) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// greeting is a transport to a server that says this and closes the connection.
type greeting struct {
	core.Transport
	text string
}

func (g greeting) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		_, _ = io.WriteString(server, g.text)
	}()
	return client, nil
}

// cutter is a transport whose connections break: each behind so many octets from
// the client, if after is set, or all of them when cut is called.
type cutter struct {
	core.Transport
	after int

	mu    sync.Mutex
	conns []*cutConn
}

func (c *cutter) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := c.Transport.Dial(ctx, e)
	if err != nil {
		return nil, err
	}
	broken := &cutConn{Conn: conn, left: c.after, counts: c.after > 0}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, broken)
	return broken, nil
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

type cutConn struct {
	net.Conn
	counts bool
	left   int
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.left -= len(p); c.counts && c.left <= 0 {
		_ = c.Close()
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(p)
}

// Read takes a connection that was closed on this side for one that the other side
// has closed.
func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// tap is a transport that has something done at a stage: when the connection is
// made if mark is empty, else when what was written contains it.
type tap struct {
	core.Transport
	mark string
	do   func()
}

func (t tap) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := t.Transport.Dial(ctx, e)
	if err != nil {
		return nil, err
	}
	if t.mark == "" {
		t.do()
	}
	return tapConn{conn, t}, nil
}

type tapConn struct {
	net.Conn
	tap tap
}

func (c tapConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.tap.mark != "" && bytes.Contains(p, []byte(c.tap.mark)) {
		c.tap.do()
	}
	return n, err
}

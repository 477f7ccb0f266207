//go:build unix && !aix

package core

import (
	"syscall"
	"time"
)

// peek is how a connection is looked at without reading from it. It is made
// once, so that looking needs no memory.
type peek struct {
	conn syscall.RawConn
	look func(fd uintptr)
	n    int
	err  error
}

func newPeek(sc syscall.Conn) *peek {
	p := &peek{}
	var octet [1]byte
	p.conn, p.err = sc.SyscallConn()
	p.look = func(fd uintptr) {
		p.n, _, p.err = syscall.Recvfrom(int(fd), octet[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return p
}

// disturbed reports whether anything has arrived on an idle connection. It does
// not block, unless the connection is no socket and has rested.
func (c *conn) disturbed(rested bool) bool {
	if c.peek == nil {
		sc, ok := c.raw.(syscall.Conn)
		if !ok {
			return rested && c.hears(time.Millisecond)
		}
		c.peek = newPeek(sc)
	}
	p := c.peek
	if p.conn == nil || p.conn.Control(p.look) != nil {
		return true
	}
	switch {
	case p.err == syscall.EAGAIN, p.err == syscall.EINTR:
		return false
	case p.err != nil, p.n == 0:
		return true
	case c.stream == c.raw:
		return true
	}
	// Under TLS the octets may be a session ticket, which is none of our
	// business. Reading tells.
	return c.hears(10 * time.Millisecond)
}

//go:build unix

package core

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// disturbed reports whether anything has arrived on an idle connection. It does
// not block.
func (c *conn) disturbed() bool {
	sc, ok := c.raw.(syscall.Conn)
	if !ok {
		return false // found out when it is used
	}
	_ = c.raw.SetReadDeadline(time.Time{}) // the last reply's may have passed meanwhile
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var (
		n       int
		peekErr error
		buf     [1]byte
	)
	err = raw.Read(func(fd uintptr) bool {
		n, _, peekErr = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	switch {
	case err != nil:
		return true
	case errors.Is(peekErr, syscall.EAGAIN), errors.Is(peekErr, syscall.EINTR):
		return false
	case peekErr != nil, n == 0:
		return true
	case c.stream == c.raw:
		return true
	}
	// Under TLS the octets may be a session ticket, which is none of our
	// business. Reading tells.
	_ = c.raw.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err = c.stream.Read(buf[:])
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

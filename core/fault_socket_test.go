package core_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// faultSocket is a faultTap that shows itself as a system's socket. The client
// trusts the buffers of one, and looks at it before it uses it again.
type faultSocket struct {
	*faultTap
	raw faultRaw
}

func (s faultSocket) SyscallConn() (syscall.RawConn, error) { return s.raw, nil }

type faultRaw struct {
	tap   *faultTap
	quiet syscall.RawConn // of a socket on which nothing happens
}

func (r faultRaw) Control(f func(fd uintptr)) error {
	if r.tap.gone.Load() {
		return net.ErrClosed // it is not as quiet
	}
	return r.quiet.Control(f)
}

func (r faultRaw) Read(f func(fd uintptr) bool) error {
	return r.Control(func(fd uintptr) { f(fd) })
}

func (faultRaw) Write(func(fd uintptr) bool) error { return errors.ErrUnsupported }

// newQuietSocket opens a socket on which nothing happens.
func newQuietSocket(t *testing.T) syscall.RawConn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

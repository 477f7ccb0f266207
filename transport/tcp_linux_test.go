package transport_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	sys "golang.org/x/sys/unix"

	"github.com/postrider/postrider/transport"
)

// Beside 127.0.0.1 Linux has all of 127.0.0.0/8 on this machine.
func TestTCP_triesAllAddressesOfAHost(t *testing.T) {
	const name = "mail.example.test."
	var seen recorder
	config := transport.TCP{Resolver: resolver(t, name, "127.0.0.2", "127.0.0.1"), Dialer: &net.Dialer{ControlContext: seen.control}}
	conn, err := dial(t.Context(), config, "smtp://"+name+":"+greeter(t))
	greeted(t, conn, err)
	if got := seen.String(); got != "127.0.0.2 127.0.0.1" {
		t.Errorf("tried %q, want the dead one and then the living one", got)
	}
}

func TestTCP_localAddr(t *testing.T) {
	from := make(chan net.Addr, 1)
	address := serve(t, func(conn net.Conn) { from <- conn.RemoteAddr() })
	conn, err := dial(t.Context(), transport.TCP{LocalAddr: netip.MustParseAddr("127.0.0.3")}, "smtp://"+address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := (<-from).(*net.TCPAddr).IP.String(); got != "127.0.0.3" {
		t.Errorf("the connection comes from %s", got)
	}
}

// option reads a socket's option.
func option(t *testing.T, conn net.Conn, level, name int) (value int) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { value, failed = sys.GetsockoptInt(int(fd), level, name) })
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTCP_socketOptions(t *testing.T) {
	called := 0
	count := func() { called++ }
	for name, dialer := range map[string]*net.Dialer{
		"alone":                 nil,
		"with a Control":        {Control: func(string, string, syscall.RawConn) error { count(); return nil }},
		"with a ControlContext": {ControlContext: func(context.Context, string, string, syscall.RawConn) error { count(); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			called = 0
			config := transport.TCP{Dialer: dialer, UserTimeout: 1500 * time.Millisecond, KeepAlive: net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 2}}
			conn, err := dial(t.Context(), config, "smtp://"+serve(t, func(net.Conn) {}))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, o := range []struct{ level, name, want int }{
				{sys.IPPROTO_TCP, sys.TCP_USER_TIMEOUT, 1500},
				{sys.SOL_SOCKET, sys.SO_KEEPALIVE, 1},
				{sys.IPPROTO_TCP, sys.TCP_KEEPIDLE, 7},
				{sys.IPPROTO_TCP, sys.TCP_KEEPINTVL, 3},
				{sys.IPPROTO_TCP, sys.TCP_KEEPCNT, 2},
			} {
				if got := option(t, conn, o.level, o.name); got != o.want {
					t.Errorf("option %d of level %d is %d, want %d", o.name, o.level, got, o.want)
				}
			}
			if (called == 1) != (dialer != nil) {
				t.Errorf("the dialer's own function was called %d times", called)
			}
		})
	}
}

func TestTCP_theDialersControlMayRefuse(t *testing.T) {
	mine := errors.New("mine")
	config := transport.TCP{UserTimeout: time.Second, Dialer: &net.Dialer{Control: func(string, string, syscall.RawConn) error { return mine }}}
	if _, err := dial(t.Context(), config, "smtp://127.0.0.1:1"); !errors.Is(err, mine) {
		t.Errorf("error %v", err)
	}
}

package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// recorder notes the addresses that a dialer tries.
type recorder struct {
	mu    sync.Mutex
	tried []string
}

func (r *recorder) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	host, _, _ := net.SplitHostPort(address)
	r.tried = append(r.tried, host)
	return nil
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.tried, " ")
}

// greeter greets, and closes the connection.
func greeter(t *testing.T) (port string) {
	_, port, _ = net.SplitHostPort(serve(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 hi\r\n") }))
	return port
}

// greeted reads what a greeter says.
func greeted(t *testing.T, conn net.Conn, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); string(got) != "220 hi\r\n" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestTCP_racesTheFamilies_RFC8305(t *testing.T) {
	const name = "mail.example.test."
	var seen recorder
	silent := func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if network == "tcp6" {
			<-ctx.Done() // like an address that swallows everything
			return ctx.Err()
		}
		return seen.control(ctx, network, address, c)
	}
	config := transport.TCP{Resolver: resolver(t, name, "::1", "127.0.0.1"), Dialer: &net.Dialer{ControlContext: silent, FallbackDelay: time.Millisecond}}
	conn, err := dial(t.Context(), config, "smtp://"+name+":"+greeter(t))
	greeted(t, conn, err)
	if got := seen.String(); got != "127.0.0.1" {
		t.Errorf("tried %q", got)
	}
}

// An address that does not answer holds nobody up, though all are of one family.
func TestTCP_racesTheAddressesOfAFamily_RFC8305(t *testing.T) {
	const name = "mail.example.test."
	for _, tt := range []struct {
		rule  string
		first error // how the first address ends; nil: never
		delay time.Duration
		want  string
	}{
		{"one that is silent is overtaken", nil, time.Millisecond, "127.0.0.1 127.0.0.2"},
		{"one that fails is followed at once", errors.New("no route"), time.Hour, "127.0.0.1 127.0.0.2"},
		{"without a race one follows the other", errors.New("no route"), -1, "127.0.0.1 127.0.0.2"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var seen recorder
			control := func(ctx context.Context, network, address string, c syscall.RawConn) error {
				_ = seen.control(ctx, network, address, c)
				if !strings.HasPrefix(address, "127.0.0.1:") {
					return nil
				}
				if tt.first == nil {
					<-ctx.Done()
					return ctx.Err()
				}
				return tt.first
			}
			l, err := net.Listen("tcp", "127.0.0.2:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			config := transport.TCP{Resolver: resolver(t, name, "127.0.0.1", "127.0.0.2"), Dialer: &net.Dialer{ControlContext: control, FallbackDelay: tt.delay}}
			conn, err := dial(t.Context(), config, "smtp://"+name+":"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := conn.RemoteAddr().String(); got != "127.0.0.2:"+port {
				t.Errorf("it is with %s", got)
			}
			if got := seen.String(); got != tt.want {
				t.Errorf("tried %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTCP_whenNoAddressAnswers(t *testing.T) {
	const name = "mail.example.test."
	down := func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return errors.New("no route to " + address)
	}
	config := transport.TCP{Resolver: resolver(t, name, "127.0.0.1", "127.0.0.2"), Dialer: &net.Dialer{ControlContext: down}}
	_, err := dial(t.Context(), config, "smtp://"+name)
	for _, want := range []string{"none of 2 addresses", "no route to 127.0.0.1:25", "no route to 127.0.0.2:25"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}

	silent := func(ctx context.Context, _, _ string, _ syscall.RawConn) error { <-ctx.Done(); return ctx.Err() }
	config.Dialer.ControlContext = silent
	config.Dialer.Timeout = 10 * time.Millisecond // for all of them
	began := time.Now()
	if _, err = dial(t.Context(), config, "smtp://"+name); !errors.Is(err, context.DeadlineExceeded) && core.ClassOf(err) != core.Temporary {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestTCP_family(t *testing.T) {
	const name = "mail.example.test."
	for family, other := range map[string]string{"4": "::1", "6": "127.0.0.1"} {
		var seen recorder
		config := transport.TCP{Resolver: resolver(t, name, "::1", "127.0.0.1"), Dialer: &net.Dialer{ControlContext: seen.control}}
		conn, err := dial(t.Context(), config, "smtp://"+name+":1?family="+family)
		if err == nil {
			_ = conn.Close()
			t.Error("port 1 is open")
		}
		if got := seen.String(); strings.Contains(got, other) || family == "4" && got != "127.0.0.1" {
			t.Errorf("family %s tried %q: %v", family, got, err)
		}
	}
}

func TestTCP_refusesWhatCannotWork(t *testing.T) {
	mine := netip.MustParseAddr("127.0.0.1")
	for _, tt := range []struct {
		rule   string
		config transport.TCP
		says   string
	}{
		{"two resolvers", transport.TCP{Resolver: net.DefaultResolver, Dialer: &net.Dialer{Resolver: net.DefaultResolver}}, "TCP.Resolver is set, and so is"},
		{"two local addresses", transport.TCP{LocalAddr: mine, Dialer: &net.Dialer{LocalAddr: &net.TCPAddr{}}}, "TCP.LocalAddr is set, and so is"},
		{"two ways of probing", transport.TCP{KeepAlive: net.KeepAliveConfig{Enable: true}, Dialer: &net.Dialer{KeepAlive: -1}}, "TCP.KeepAlive is set, and so is"},
		{"probes that are not enabled", transport.TCP{KeepAlive: net.KeepAliveConfig{Idle: time.Minute}}, "not Enable"},
		{"a user timeout below its unit", transport.TCP{UserTimeout: time.Microsecond}, "TCP.UserTimeout is"},
		{"a user timeout beyond all numbers", transport.TCP{UserTimeout: 1 << 62}, "TCP.UserTimeout is"},
		{"a negative user timeout", transport.TCP{UserTimeout: -1}, "TCP.UserTimeout is"},
		{"a list without a proxy", transport.TCP{Proxy: transport.Proxy{NoProxy: "x"}}, "no URL"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if _, err := dial(t.Context(), tt.config, "smtp://192.0.2.1"); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
}

func TestTCP_leavesTheCallersDialerAlone(t *testing.T) {
	mine := &net.Dialer{}
	_ = transport.SMTP(transport.TCP{Dialer: mine, LocalAddr: netip.MustParseAddr("127.0.0.1"), Resolver: net.DefaultResolver, KeepAlive: net.KeepAliveConfig{Enable: true}})
	if mine.LocalAddr != nil || mine.Resolver != nil || mine.KeepAliveConfig.Enable || mine.ControlContext != nil {
		t.Errorf("it is now %+v", mine)
	}
}

package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// read has the standard transports read a URL.
func read(t *testing.T, rawURL string) (core.Endpoint, error) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range transport.Standard() {
		if tr.Scheme() == u.Scheme {
			return tr.Endpoint(u)
		}
	}
	t.Fatalf("no transport for %q", u.Scheme)
	return core.Endpoint{}, nil
}

func TestEndpoint(t *testing.T) {
	const plain, implicit = core.PlainText, core.ImplicitTLS
	for _, tt := range []struct {
		rule, url     string
		address, name string // dialled, and in the certificate
		security      core.Security
		local         bool
	}{
		{"smtp is port 25 in clear text (RFC 5321 §4.5.4.2)", "smtp://mail.example.com", "mail.example.com:25", "mail.example.com", plain, false},
		{"smtps is port 465 and TLS from the first octet (RFC 8314 §3.3)", "smtps://mail.example.com", "mail.example.com:465", "mail.example.com", implicit, false},
		{"a port of one's own", "smtp://mail.example.com:587", "mail.example.com:587", "mail.example.com", plain, false},
		{"the highest port", "smtp://mail.example.com:65535", "mail.example.com:65535", "mail.example.com", plain, false},
		{"a port says nothing about TLS", "smtp://mail.example.com:465", "mail.example.com:465", "mail.example.com", plain, false},
		{"an empty port is the default one", "smtp://mail.example.com:", "mail.example.com:25", "mail.example.com", plain, false},
		{"a slash at the end is nothing", "smtps://mail.example.com/", "mail.example.com:465", "mail.example.com", implicit, false},
		{"a dot at the end stays out of the certificate's name", "smtp://mail.example.com.", "mail.example.com.:25", "mail.example.com", plain, false},

		{"an IPv4 address", "smtp://192.0.2.1", "192.0.2.1:25", "192.0.2.1", plain, false},
		{"an IPv6 address", "smtp://[2001:db8::1]", "[2001:db8::1]:25", "2001:db8::1", plain, false},
		{"an IPv6 address with a port", "smtps://[2001:db8::1]:1465", "[2001:db8::1]:1465", "2001:db8::1", implicit, false},
		{"a zone is dialled and is no part of the certificate's name", "smtp://[fe80::1%25eth0]:587", "[fe80::1%eth0]:587", "fe80::1", plain, false},

		{"127.0.0.1 is this machine", "smtp://127.0.0.1:2525", "127.0.0.1:2525", "127.0.0.1", plain, true},
		{"all of 127.0.0.0/8 is this machine", "smtp://127.9.9.9", "127.9.9.9:25", "127.9.9.9", plain, true},
		{"::1 is this machine", "smtps://[::1]", "[::1]:465", "::1", implicit, true},
		{"127.0.0.1 in IPv6's form is this machine", "smtp://[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]:25", "::ffff:127.0.0.1", plain, true},
		{"localhost is this machine (RFC 6761 §6.3)", "smtp://localhost", "localhost:25", "localhost", plain, true},
		{"in any case, and with a dot", "smtp://LocalHost.:25", "LocalHost.:25", "LocalHost", plain, true},
		{"so is all below it (RFC 6761 §6.3)", "smtp://mail.localhost", "mail.localhost:25", "mail.localhost", plain, true},
		{"a name that only contains it is not", "smtp://localhost.example.com", "localhost.example.com:25", "localhost.example.com", plain, false},
		{"a name that only ends in it is not", "smtp://notlocalhost", "notlocalhost:25", "notlocalhost", plain, false},
		{"the address of any interface is not", "smtp://0.0.0.0", "0.0.0.0:25", "0.0.0.0", plain, false},
		{"an address in a form that only some resolvers know is not", "smtp://127.1", "127.1:25", "127.1", plain, false},
		{"an address of a private network is not", "smtp://10.0.0.1", "10.0.0.1:25", "10.0.0.1", plain, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := read(t, tt.url)
			want := core.Endpoint{Network: "tcp", Address: tt.address, ServerName: tt.name, Protocol: core.SMTP, Security: tt.security, Local: tt.local}
			if got != want || err != nil {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

func TestEndpoint_refuses(t *testing.T) {
	for _, tt := range []struct{ rule, url, says string }{
		{"no host", "smtp://", "names no host"},
		{"no host before a port", "smtp://:25", "names no host"},
		{"no slashes", "smtp:mail.example.com", "smtp://host:port"},
		{"a path only", "smtp:///mail.example.com", "names no host"},
		{"a path", "smtp://mail.example.com/inbox", "more than a host and a port"},
		{"a fragment", "smtp://mail.example.com#x", "more than a host and a port"},
		{"an IPv6 address without brackets", "smtp://::1", "in brackets"},
		{"one with a port behind it", "smtp://2001:db8::1:25", "in brackets"},
		{"port 0", "smtp://mail.example.com:0", "1 to 65535"},
		{"port 65536", "smtp://mail.example.com:65536", "1 to 65535"},
		{"a port beyond all numbers", "smtp://mail.example.com:99999999999999999999", "1 to 65535"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got, err := read(t, tt.url); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %+v, %v, want an error with %q", got, err, tt.says)
			}
		})
	}
}

func TestStandard(t *testing.T) {
	var schemes []string
	for _, tr := range transport.Standard() {
		schemes = append(schemes, tr.Scheme())
	}
	if got := strings.Join(schemes, " "); got != "smtp smtps lmtp smtp+unix lmtp+unix" {
		t.Errorf("the schemes are %q", got)
	}
	list := transport.Standard()
	list[0] = nil
	if transport.Standard()[0] == nil {
		t.Error("who changes the list changes it for everybody")
	}
}

// listen returns a listener on this machine.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestDial(t *testing.T) {
	for name, rawURL := range map[string]string{"smtp": "smtp://", "smtps, whose TLS is the session's": "smtps://"} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			done := make(chan error)
			go func() {
				conn, err := l.Accept()
				if err == nil {
					_, err = conn.Write([]byte("220 hi\r\n"))
					_ = conn.Close()
				}
				done <- err
			}()
			u, _ := url.Parse(rawURL + l.Addr().String())
			tr := transport.SMTP(transport.TCP{})
			if u.Scheme == "smtps" {
				tr = transport.SMTPS(transport.TCP{})
			}
			e, err := tr.Endpoint(u)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := tr.Dial(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if string(got) != "220 hi\r\n" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			if err := errors.Join(conn.Close(), <-done); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDial_thatIsRefused(t *testing.T) {
	l := listen(t)
	_ = l.Close()
	e, err := read(t, "smtp://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.SMTP(transport.TCP{}).Dial(t.Context(), e); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

func TestDial_endsWithItsContext(t *testing.T) {
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	dialer := &net.Dialer{ControlContext: func(context.Context, string, string, syscall.RawConn) error {
		cancel() // before the connection is made
		return nil
	}}
	for name, config := range map[string]transport.TCP{"while it dials": {Dialer: dialer}, "before it dials": {}} {
		tr := transport.SMTP(config)
		e, err := read(t, "smtp://"+l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if name == "before it dials" {
			cancel()
		}
		conn, err := tr.Dial(ctx, e)
		if conn != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, %v", name, conn, err)
		}
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
}

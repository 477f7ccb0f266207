package transport_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// turns is a SOCKS proxy that says these, one after each thing it hears, and
// closes the connection.
func turns(t *testing.T, says ...string) string {
	return serve(t, func(conn net.Conn) {
		for _, s := range says {
			if _, err := conn.Read(make([]byte, 1024)); err != nil {
				return
			}
			_, _ = io.WriteString(conn, s)
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, conn)
	})
}

const (
	noAuth    = "\x05\x00"
	wantsAuth = "\x05\x02"
	connected = "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x19"
)

func TestSOCKS5(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		says   []string
		stream string
	}{
		{"a proxy that wants no password though there is one", []string{noAuth, connected}, ""},
		{"one that wants it", []string{wantsAuth, "\x01\x00", connected}, ""},
		{"what comes in the same segment belongs to the stream", []string{noAuth, connected + "220 hi\r\n"}, "220 hi\r\n"},
		{"an answer with an IPv6 address", []string{noAuth, "\x05\x00\x00\x04" + strings.Repeat("\x00", 16) + "\x00\x19220 hi"}, "220 hi"},
		{"an answer with a name", []string{noAuth, "\x05\x00\x00\x03\x01x\x00\x19220 hi"}, "220 hi"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			conn, err := dial(t.Context(), transport.TCP{Proxy: transport.Proxy{URL: withCredentials("socks5", turns(t, tt.says...))}}, "smtp://mail.example.com")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := io.ReadAll(conn); string(got) != tt.stream || err != nil {
				t.Errorf("the stream has %q, %v, want %q", got, err, tt.stream)
			}
			if _, ok := conn.(*net.TCPConn); !ok {
				t.Errorf("the connection is a %T", conn)
			}
		})
	}
}

func TestSOCKS5_refusals(t *testing.T) {
	for _, tt := range []struct {
		rule string
		says []string
		want string
		hint string
	}{
		{"no method that suits it", []string{"\x05\xff"}, "no acceptable authentication methods", "check user and password"},
		{"a method that was not offered", []string{"\x05\x01"}, "authentication", "check user and password"},
		{"another password", []string{wantsAuth, "\x01\x01"}, "authentication failed", "check user and password"},
		{"its rules", []string{noAuth, "\x05\x02\x00\x01"}, "connect to mail.example.com:25: connection not allowed by ruleset", ""},
		{"the server is not there", []string{noAuth, "\x05\x05\x00\x01"}, ": connection refused", ""},
		{"a code that there is not", []string{noAuth, "\x05\x63\x00\x01"}, "unknown code: 99", ""},
		{"SOCKS 4", []string{"\x00\x5b"}, "is not SOCKS 5", "may be one for http"},
		{"an HTTP proxy", []string{"HTTP/1.1 400 Bad Request\r\n\r\n"}, "is not SOCKS 5", "may be one for http"},
		{"garbage behind the method", []string{noAuth, "220 hi\r\n"}, "is not SOCKS 5", ""},
		{"nothing", nil, "closed the connection", "is a SOCKS 5 proxy"},
		{"half an answer", []string{noAuth, "\x05\x00\x00"}, "closed the connection", ""},
		{"half an address", []string{noAuth, "\x05\x00\x00\x01\x7f"}, "closed the connection", ""},
		{"an address of no type", []string{noAuth, "\x05\x00\x00\x09\x00\x00"}, "address type 9", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			proxy := transport.Proxy{URL: withCredentials("socks5", turns(t, tt.says...))}
			receipt, err := send(t, client(t, "smtp://mail.example.com", transport.TCP{Proxy: proxy}))
			if err == nil {
				t.Fatal("no error")
			}
			if text := err.Error(); !strings.Contains(text, tt.want) || !strings.Contains(text, tt.hint) {
				t.Errorf("error %q, want %q and %q", text, tt.want, tt.hint)
			}
			if core.ClassOf(err) != core.Temporary || receipt.Count(core.Deferred) != 1 {
				t.Errorf("error of class %v", core.ClassOf(err))
			}
			keepsSecret(t, err.Error())
		})
	}
	t.Run("a name that is too long for it", func(t *testing.T) {
		_, err := dial(t.Context(), transport.TCP{Proxy: transport.Proxy{URL: "socks5://" + turns(t, noAuth)}}, "smtp://"+strings.Repeat("a", 256))
		if err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("error %v", err)
		}
	})
}

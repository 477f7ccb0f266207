package core_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// Where STARTTLS is not announced, or taken out on the way, nothing is said to
// the server that TLS should have hidden.
func TestTLS_strippedStartTLS(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		greets string
		change func(*core.Config)
	}{
		{"not announced", "250-mx.example\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE\r\n", nil},
		{"announced under another name", "250-mx.example\r\n250 XXXXXXXA\r\n", nil},
		{"no EHLO", "502 what\r\n", nil},
		{"not announced, with a policy that says it", "250-mx.example\r\n250 CHUNKING\r\n", func(c *core.Config) { c.TLSPolicy = core.TLSRequired }},
		{"with insecure AUTH allowed", "250-mx.example\r\n250 AUTH PLAIN\r\n", func(c *core.Config) { c.AllowInsecureAuth = true }},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			heard := make(chan string, 1)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() { heard <- hear(l, tt.greets) }()
			config := core.Config{Endpoint: "smtp://server.example", Transports: []core.Transport{elsewhere{l.Addr().String()}}, LocalName: "client.example", Auth: mechanisms.Password("me", "secret")}
			if tt.change != nil {
				tt.change(&config)
			}
			c, err := core.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Send(t.Context(), message("b@example.com"))
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Class != core.Permanent {
				t.Errorf("error %v", err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			got := strings.TrimSuffix(<-heard, "QUIT\r\n")
			if got != "EHLO client.example\r\n" {
				t.Errorf("the server heard %q", got)
			}
		})
	}
}

// hear serves one connection, answers every line in the same way, and returns
// all that it was told.
func hear(l net.Listener, answer string) string {
	conn, err := l.Accept()
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "220 mx.example\r\n")
	var all strings.Builder
	in := bufio.NewReader(io.TeeReader(conn, &all))
	for {
		if _, err := in.ReadString('\n'); err != nil {
			return all.String()
		}
		_, _ = io.WriteString(conn, answer)
	}
}

// elsewhere leads a server that is not on this machine to an address that is.
type elsewhere struct{ address string }

func (elsewhere) Scheme() string { return "smtp" }

func (elsewhere) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{Network: "tcp", Address: u.Host, ServerName: u.Hostname()}, nil
}

func (e elsewhere) Dial(ctx context.Context, _ core.Endpoint) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", e.address)
}

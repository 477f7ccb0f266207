package realserver_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// TestProxies sends through real proxies to a real server.
func TestProxies(t *testing.T) {
	for name, c := range map[string]struct {
		start  func(testing.TB) *realserver.Proxy
		scheme string
		wrong  string // what the error says of another password
		closed string // and of a port on which nothing listens
	}{
		"MicroSocks": {realserver.StartMicrosocks, "socks5", "authentication failed", "connection refused"},
		"Tinyproxy":  {realserver.StartTinyproxy, "http", "401", "500"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, server := c.start(t), realserver.StartPostfix(t)
			_, port, err := net.SplitHostPort(server.Addr)
			if err != nil {
				t.Fatal(err)
			}
			_, tlsPort, err := net.SplitHostPort(server.TLSAddr)
			if err != nil {
				t.Fatal(err)
			}
			send := func(endpoint, proxyURL, to string) (*core.Receipt, error) {
				client, err := core.NewClient(smtptest.AtDepth(core.Config{
					Endpoint: endpoint, LocalName: "client.example.test", TLS: &tls.Config{RootCAs: server.RootCAs},
					Transports: transport.With(transport.TCP{Proxy: transport.Proxy{URL: proxyURL}}),
				}))
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				return client.Send(t.Context(), &core.Message{From: "me@example.com", To: core.Recipients(to), Body: core.String("Subject: proxy\r\n\r\nhi\r\n")})
			}
			for to, endpoint := range map[string]string{
				"starttls@example.test": "smtp://localhost:" + port, // the proxy looks the name up
				"implicit@example.test": "smtps://localhost:" + tlsPort,
				"address@example.test":  "smtp://127.0.0.1:" + port,
			} {
				receipt, err := send(endpoint, proxy.URL(c.scheme), to)
				if err != nil {
					t.Fatalf("%s: %v", endpoint, err)
				}
				// localhost behind a proxy is another machine as far as anybody knows.
				if p := receipt.Peer; p.Local || p.TLS == nil || p.TLSError != nil || p.Addr.String() != proxy.Addr {
					t.Errorf("%s: peer %+v", endpoint, p)
				}
				server.WaitMessages(t, to, 1)
			}
			for rule, refused := range map[string]struct{ endpoint, proxyURL, says string }{
				"another password": {"smtp://localhost:" + port, strings.Replace(proxy.URL(c.scheme), proxy.Password, "another", 1), c.wrong},
				"no password":      {"smtp://localhost:" + port, c.scheme + "://" + proxy.Addr, "put user:password@"},
				"nothing listens":  {"smtp://localhost:1", proxy.URL(c.scheme), c.closed},
			} {
				_, err := send(refused.endpoint, refused.proxyURL, "never@example.test")
				if err == nil || !strings.Contains(err.Error(), refused.says) || core.ClassOf(err) != core.Temporary {
					t.Errorf("%s: error %v, want %q", rule, err, refused.says)
				}
				if err != nil && (strings.Contains(err.Error(), proxy.Password) || strings.Contains(err.Error(), "another")) {
					t.Errorf("%s: the password is in %q", rule, err)
				}
			}
			server.Settle(t)
			server.WaitMessages(t, "never@example.test", 0)
		})
	}
}

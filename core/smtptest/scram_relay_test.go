package smtptest_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
)

// between stands between clients and a server with TLS from the first octet. It
// has a certificate that the clients trust, and change is what it makes of each
// line that the server says. Clients reach it with the configuration returned.
func between(t *testing.T, server *smtptest.Server, change func(line string) string) core.Config {
	t.Helper()
	own, trust := smtptest.NewCertificate(t, "127.0.0.1", "::1")
	l, err := net.Listen("tcp", strings.TrimPrefix(server.URL()[:strings.LastIndex(server.URL(), ":")], "smtps://")+":0")
	if err != nil {
		t.Fatal(err)
	}
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			relays.Go(func() {
				client := tls.Server(conn, own)
				defer client.Close()
				upstream, err := tls.Dial("tcp", strings.TrimPrefix(server.URL(), "smtps://"), server.Config().TLS)
				if err != nil {
					t.Error(err)
					return
				}
				defer upstream.Close()
				relays.Go(func() {
					_, _ = io.Copy(upstream, client) // until one of them goes
					_ = upstream.Close()
				})
				lines := bufio.NewReader(upstream)
				for {
					line, err := lines.ReadString('\n')
					if err != nil {
						return
					}
					if _, err := io.WriteString(client, change(line)); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		relays.Wait()
	})
	return core.Config{Endpoint: "smtps://" + l.Addr().String(), Transports: transport.Standard(), LocalName: "client.example", TLS: trust}
}

// Who stands between with a certificate that the client trusts is found out by
// the mechanisms with -PLUS, and by those without if he hides -PLUS.
func TestServer_SCRAM_findsOutWhoStandsBetween(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{ImplicitTLS: true, Users: map[string]string{"ann": "correct horse"}, SCRAM: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, RequireAuth: true})
	honest := func(line string) string { return line }
	stripped := func(line string) string { return strings.Replace(line, " SCRAM-SHA-256-PLUS", "", 1) }
	both := []core.Mechanism{mechanisms.SCRAMSHA256Plus("ann", "correct horse"), mechanisms.SCRAMSHA256("ann", "correct horse")}
	for _, tt := range []struct {
		rule   string
		change func(line string) string
		auth   []core.Mechanism
		reply  string // "": the message is accepted
	}{
		{"tls-exporter (RFC 9266)", honest, []core.Mechanism{mechanisms.SCRAM{Plus: true, Binding: mechanisms.TLSExporter}.Mechanism("ann", "correct horse")}, "535 5.7.8 channel-bindings-dont-match"},
		{"tls-server-end-point (RFC 5929 §4)", honest, []core.Mechanism{mechanisms.SCRAM{Plus: true, Binding: mechanisms.TLSServerEndPoint}.Mechanism("ann", "correct horse")}, "535 5.7.8 channel-bindings-dont-match"},
		{"-PLUS is hidden (RFC 5802 §6)", stripped, both, "535 5.7.8 server-does-support-channel-binding"},
		{"-PLUS is hidden, which PLAIN does not find out", stripped, []core.Mechanism{mechanisms.Plain("ann", "correct horse")}, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			config := between(t, server, tt.change)
			config.Auth = tt.auth
			client, err := core.NewClient(smtptest.AtDepth(config))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_, err = client.Send(t.Context(), message("bob@example.net"))
			e, _ := errors.AsType[*core.Error](err)
			switch {
			case tt.reply == "" && err != nil:
				t.Error(err)
			case tt.reply != "" && (e == nil || e.Reply.String() != tt.reply || !errors.Is(err, core.ErrCredentials)):
				t.Errorf("error %v, want %s", err, tt.reply)
			}
		})
	}
}

package transport_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// serve has f serve each connection to a listener on this machine, and returns
// its address. The test's end closes the connections and waits for f.
func serve(t *testing.T, f func(conn net.Conn)) string {
	t.Helper()
	l := listen(t)
	var (
		mu    sync.Mutex
		conns []net.Conn
		all   sync.WaitGroup
	)
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				f(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// dial has the smtp transport of a configuration open a URL.
func dial(ctx context.Context, config transport.TCP, rawURL string) (net.Conn, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	tr := transport.SMTP(config)
	e, err := tr.Endpoint(u)
	if err != nil {
		return nil, err
	}
	return tr.Dial(ctx, e)
}

// resolver returns a resolver whose DNS knows one name, with these addresses in
// this order.
func resolver(t *testing.T, name string, addresses ...string) *net.Resolver {
	t.Helper()
	var servers sync.WaitGroup
	t.Cleanup(servers.Wait)
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		servers.Go(func() {
			defer server.Close()
			answerDNS(server, name, addresses)
		})
		return client, nil
	}}
}

// answerDNS answers the queries on a connection (RFC 1035 §4.2.2).
func answerDNS(conn net.Conn, name string, addresses []string) {
	for {
		var size [2]byte
		if _, err := conn.Read(size[:1]); err != nil {
			return
		}
		if _, err := conn.Read(size[1:]); err != nil {
			return
		}
		query := make([]byte, int(size[0])<<8|int(size[1]))
		if _, err := conn.Read(query); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
			return
		}
		q := m.Questions[0]
		m.Response, m.Authoritative, m.RCode, m.Additionals = true, true, dnsmessage.RCodeNameError, nil
		if q.Name.String() == name {
			m.RCode = dnsmessage.RCodeSuccess
			for _, a := range addresses {
				ip := net.ParseIP(a)
				h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
				switch ip4 := ip.To4(); {
				case ip4 != nil && q.Type == dnsmessage.TypeA:
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: [4]byte(ip4)}})
				case ip4 == nil && q.Type == dnsmessage.TypeAAAA:
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}})
				}
			}
		}
		answer, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...)); err != nil {
			return
		}
	}
}

// client returns a client of an endpoint over TCP.
func client(t *testing.T, endpoint string, config transport.TCP, change ...func(*core.Config)) *core.Client {
	t.Helper()
	c := core.Config{Endpoint: endpoint, Transports: transport.With(config), LocalName: "client.example"}
	for _, f := range change {
		f(&c)
	}
	made, err := core.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	return made
}

// send sends a small message.
func send(t *testing.T, c *core.Client) (*core.Receipt, error) {
	t.Helper()
	return c.Send(t.Context(), &core.Message{From: "a@example.com", To: core.Recipients("b@example.com"), Body: core.String("Subject: x\r\n\r\nhi\r\n")})
}

// serveTLS does handshakes, and nothing else.
func serveTLS(t *testing.T, config *tls.Config) string {
	return serve(t, func(conn net.Conn) { _ = tls.Server(conn, config).HandshakeContext(t.Context()) })
}

package dkim_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/transport"
)

// on returns a client of a server.
func on(t *testing.T, s *smtptest.Server, change func(*core.Config)) *core.Client {
	t.Helper()
	config := s.Config()
	change(&config)
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// groups notes how commands are written.
func groups(content, together *atomic.Int32, with string) core.Interceptor {
	return core.Interceptor{Name: "groups", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
		return func(ctx context.Context, x *core.Exchange) error {
			if len(x.Commands) > 1 {
				together.Add(1)
			}
			for n := range x.Commands {
				if strings.HasPrefix(x.Commands[n].String(), with) {
					content.Add(1)
				}
			}
			return next(ctx, x)
		}
	}}
}

func TestOnEveryKindOfSession(t *testing.T) {
	const messages = 60
	texts := []string{
		"Hello.\r\n", "", ".\r\n..\r\n.a\r\n", "Hello.\nBye.", "Grüße \xff\r\n", strings.Repeat("x", 998) + "\r\n\r\n\r\n",
		strings.Repeat("A line of the text.\r\n.\r\n", 5000), // more than an inline chunk holds
	}
	for _, tt := range []struct {
		masked    []string
		depth     int
		by        string
		pipelined bool
	}{
		{nil, 1, "BDAT", true},
		{nil, 16, "BDAT", true},
		{[]string{"CHUNKING"}, 1, "DATA", true},
		{[]string{"CHUNKING"}, 16, "DATA", true},
		{[]string{"PIPELINING"}, 1, "BDAT", false},
		{[]string{"PIPELINING", "CHUNKING"}, 1, "DATA", false},
		{[]string{"PIPELINING", "CHUNKING"}, 16, "DATA", false}, // no depth without PIPELINING
	} {
		t.Run(fmt.Sprintf("without %v, depth %d", tt.masked, tt.depth), func(t *testing.T) {
			var content, together, connections atomic.Int32
			s := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(e smtptest.Envelope) *core.Reply {
				connections.Store(max(connections.Load(), int32(e.Connection)))
				return nil
			}})
			client := on(t, s, func(c *core.Config) {
				c.MaskExtensions, c.PipelineDepth, c.MaxSessions = tt.masked, tt.depth, 2
				c.Interceptors = []core.Interceptor{
					mustNew(t, dkim.Config{Domains: table, Signatures: []dkim.Signature{by("esp.example", "s9")}}),
					groups(&content, &together, tt.by),
				}
			})
			bodies := make([]string, messages)
			err := client.SendAll(t.Context(), func(yield func(*core.Message) bool) {
				for n := range messages {
					domain := []string{"example.com", "news.example.com", "example.org"}[n%3]
					bodies[n] = fmt.Sprintf("From: me@%s\r\nSubject: %d\r\n\r\n%s", domain, n, texts[n%len(texts)])
					m := message(core.String(bodies[n]))
					m.From = fmt.Sprintf("%d@example.com", n)
					if !yield(m) {
						return
					}
				}
			}, func(r core.Result) {
				if r.Err != nil || r.Receipt.Attempts != 1 {
					t.Errorf("message %d: %v", r.Index, r.Err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Wait(t.Context(), messages)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range got {
				var n int
				if _, err := fmt.Sscanf(m.From, "%d@", &n); err != nil {
					t.Fatal(err)
				}
				want := []string{"r1@example.com e1@example.com s9@esp.example", "s1@news.example.com s9@esp.example", "s3@example.org s9@esp.example"}[n%3]
				if got := signers(t, m.Content); got != want || !bytes.HasSuffix(m.Content, []byte("\r\n"+normalise(bodies[n]))) {
					t.Errorf("message %d: signed by %s, want %s; %.300q", n, got, want, m.Content)
				}
			}
			if content.Load() < messages || together.Load() > 0 != tt.pipelined || connections.Load() > 2 {
				t.Errorf("%d commands of %s, %d groups, %d connections", content.Load(), tt.by, together.Load(), connections.Load())
			}
		})
	}
}

// fits has the text in UTF-8 where the server takes that, and else in ASCII.
var fits = core.Interceptor{Name: "fits", Content: func(next core.ContentFunc) core.ContentFunc {
	return func(ctx context.Context, c *core.Content) error {
		subject := "=?utf-8?q?Gr=C3=BC=C3=9Fe?="
		if c.Offers("SMTPUTF8") {
			subject = "Grüße"
		}
		c.Body = core.String("From: me@example.com\r\nSubject: " + subject + "\r\n\r\nHello.\r\n")
		return next(ctx, c)
	}
}}

// turns leads to one address after the other.
type turns struct {
	core.Transport
	addresses []string
	dialed    atomic.Int32
}

func (d *turns) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	e.Address = d.addresses[d.dialed.Add(1)-1]
	return d.Transport.Dial(ctx, e)
}

// Content is made for what a server can take, and signed then.
func TestContentThatIsMadeForAnotherServerIsSignedAnew(t *testing.T) {
	var got [][]byte
	server := func(utf8 bool, reply *core.Reply) string {
		return smtptest.NewServer(t, smtptest.ServerOptions{SMTPUTF8: utf8, Content: func(m smtptest.Message) *core.Reply {
			got = append(got, m.Content)
			return reply
		}}).URL()
	}
	down := smtptest.Reply("421 4.3.2 going down")
	urls := []string{server(false, down), server(false, down), server(true, nil)}
	way := &turns{Transport: transport.SMTP(transport.TCP{})}
	for _, url := range urls {
		way.addresses = append(way.addresses, strings.TrimPrefix(url, "smtp://"))
	}
	var asked atomic.Int32
	sign := from(t, func(context.Context) (dkim.Key, error) {
		n := byte(asked.Add(1))
		return dkim.Key{Selector: fmt.Sprintf("s%d", n), Signer: numbered(n)}, nil
	})
	client, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: urls[0], Transports: []core.Transport{way}, Interceptors: []core.Interceptor{thrice, fits, sign}}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Send(t.Context(), message(core.String(""))); err != nil {
		t.Fatal(err)
	}
	for n, want := range []struct{ by, subject string }{
		{"s1@example.com", "=?utf-8?q?Gr=C3=BC=C3=9Fe?="},
		{"s1@example.com", "=?utf-8?q?Gr=C3=BC=C3=9Fe?="}, // of the same kind: not signed again
		{"s2@example.com", "Grüße"},
	} {
		if by := signers(t, got[n]); by != want.by || !bytes.Contains(got[n], []byte("\r\nSubject: "+want.subject+"\r\n")) {
			t.Errorf("server %d: signed by %s, want %s; %q", n, by, want.by, got[n])
		}
	}
}

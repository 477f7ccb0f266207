package core_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/breaker"
)

// site is a server among several. What it does can be changed at any time.
type site struct {
	mu       sync.Mutex
	down     bool          // it refuses connections
	slow     time.Duration // before a connection is refused or made
	greeting string        // "220 hi" if empty
	auth     string        // its reply to AUTH, if it has any
	mail     string        // its reply to MAIL: "250 ok" if empty; "CLOSE" hangs up
	hold     chan struct{} // it waits for this before it replies to content
	dials    int
	stored   int
	conns    []net.Conn
}

func (s *site) set(change func(*site)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *site) counts() (dials, stored int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials, s.stored
}

// hangUp closes the connections that there are.
func (s *site) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *site) dial(ctx context.Context) (net.Conn, error) {
	s.mu.Lock()
	s.dials++
	down, slow := s.down, s.slow
	s.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if down {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	s.set(func(s *site) { s.conns = append(s.conns, server) })
	go s.serve(server)
	return client, nil
}

func (s *site) serve(conn net.Conn) {
	defer conn.Close()
	or := func(reply *string, usual string) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if *reply != "" {
			return *reply
		}
		return usual
	}
	say := func(line string) bool {
		_, err := fmt.Fprintf(conn, "%s\r\n", line)
		return err == nil && !strings.HasPrefix(line, "421")
	}
	if !say(or(&s.greeting, "220 hi")) {
		return
	}
	for r := bufio.NewScanner(conn); r.Scan(); {
		reply := "250 ok"
		switch verb, _, _ := strings.Cut(r.Text(), " "); verb {
		case "EHLO":
			reply = "250-site\r\n250 PIPELINING"
			if or(&s.auth, "") != "" {
				reply += "\r\n250 AUTH PLAIN"
				reply = strings.Replace(reply, "250 P", "250-P", 1)
			}
		case "AUTH":
			reply = or(&s.auth, "")
		case "MAIL":
			if reply = or(&s.mail, reply); reply == "CLOSE" {
				return
			}
		case "DATA":
			if !say("354 go on") {
				return
			}
			whole := false
			for !whole && r.Scan() {
				whole = r.Text() == "."
			}
			if !whole {
				return // it was hung up on
			}
			s.mu.Lock()
			hold := s.hold
			s.mu.Unlock()
			if hold != nil {
				<-hold
			}
			s.set(func(s *site) { s.stored++ })
		case "QUIT":
			say("221 bye")
			return
		}
		if !say(reply) {
			return
		}
	}
}

// sites is servers by name, and the transport that reaches them.
type sites map[string]*site

func newSites(names ...string) sites {
	s := make(sites)
	for _, name := range names {
		s[name] = &site{}
	}
	return s
}

func (sites) Scheme() string { return "site" }
func (sites) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{ServerName: u.Host, Local: true}, nil
}
func (s sites) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	return s[e.ServerName].dial(ctx)
}

// client returns a client of the named sites, in that order.
func (s sites) client(t *testing.T, names string, change func(*core.Config)) *core.Client {
	t.Helper()
	b, err := breaker.New(breaker.Config{Failures: 2, Rest: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	config := core.Config{Transports: []core.Transport{s}, LocalName: "client.example", Interceptors: []core.Interceptor{b}}
	for _, name := range strings.Fields(names) {
		config.Endpoints = append(config.Endpoints, "site://"+name)
	}
	if change != nil {
		change(&config)
	}
	c, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// goes sends a message and reports where it went: a site's name, or the
// recipient's outcome.
func goes(t *testing.T, c *core.Client) string {
	t.Helper()
	receipt, err := c.Send(t.Context(), message("b@example.com"))
	if err != nil {
		return outcomes(receipt)
	}
	return receipt.Peer.ServerName
}

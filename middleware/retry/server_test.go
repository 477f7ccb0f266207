package retry_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a small SMTP server that does what a test tells it to. Its fields
// are functions of how often something happened before, from 1.
type server struct {
	// mail and rcpt answer those commands. An empty answer is 250.
	mail func(n int) string
	rcpt func(address string, n int) string
	// content answers the final dot; "" is 250, "cut" closes the connection
	// without an answer, after the message was stored.
	content func(n int) string
	// cutAfter closes the connection when that many octets of the content have
	// come; zero does not.
	cutAfter func(n int) int
	// refuse closes a connection before the greeting.
	refuse func(n int) bool

	mu          sync.Mutex
	connections int
	mails       int
	rcpts       map[string]int
	contents    int
	stored      map[string]int // messages for each recipient

	running sync.WaitGroup
	open    []net.Conn
}

// count reads one of the counters.
func (s *server) count(counter *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *counter
}

func (s *server) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	s.mu.Lock()
	s.connections++
	n := s.connections
	s.open = append(s.open, conn)
	s.mu.Unlock()
	if s.refuse != nil && s.refuse(n) {
		return
	}
	in := bufio.NewReader(conn)
	say := func(reply string) { _, _ = conn.Write([]byte(reply + "\r\n")) }
	say("220 mx.example ESMTP")
	var to []string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			say("250-mx.example\r\n250 8BITMIME")
		case "MAIL":
			to = nil
			say(s.answer(s.mail, &s.mails))
		case "RCPT":
			address := line[strings.Index(line, "<")+1 : strings.Index(line, ">")]
			reply := s.answerRcpt(address)
			if reply[0] == '2' {
				to = append(to, address)
			}
			say(reply)
		case "DATA":
			if len(to) == 0 {
				say("503 5.5.1 no recipients")
				break
			}
			say("354 go on")
			if !s.receive(conn, in, to) {
				return
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// receive takes the content in and reports whether the connection lives on.
func (s *server) receive(conn net.Conn, in *bufio.Reader, to []string) bool {
	s.mu.Lock()
	s.contents++
	n := s.contents
	s.mu.Unlock()
	left := -1
	if s.cutAfter != nil {
		if c := s.cutAfter(n); c > 0 {
			left = c
		}
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		if left >= 0 {
			if left -= len(line); left <= 0 {
				return false
			}
		}
	}
	reply := "250 2.0.0 queued"
	if s.content != nil {
		if r := s.content(n); r != "" {
			reply = r
		}
	}
	if reply[0] == '2' || reply == "cut" {
		s.mu.Lock()
		for _, address := range to {
			s.stored[address]++
		}
		s.mu.Unlock()
	}
	if reply == "cut" {
		return false
	}
	_, _ = fmt.Fprintf(conn, "%s\r\n", reply)
	return true
}

func (s *server) answer(f func(int) string, count *int) string {
	s.mu.Lock()
	*count++
	n := *count
	s.mu.Unlock()
	if f != nil {
		if reply := f(n); reply != "" {
			return reply
		}
	}
	return "250 ok"
}

func (s *server) answerRcpt(address string) string {
	s.mu.Lock()
	s.rcpts[address]++
	n := s.rcpts[address]
	s.mu.Unlock()
	if s.rcpt != nil {
		if reply := s.rcpt(address, n); reply != "" {
			return reply
		}
	}
	return "250 ok"
}

func (s *server) prepare(t testing.TB) {
	s.rcpts, s.stored = map[string]int{}, map[string]int{}
	t.Cleanup(func() {
		s.mu.Lock()
		for _, c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.running.Wait()
	})
}

// listen makes the server reachable over loopback, and returns its URL.
func (s *server) listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.prepare(t)
	t.Cleanup(func() { _ = l.Close() })
	s.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			s.running.Go(func() { s.serve(conn) })
		}
	})
	return "smtp://" + l.Addr().String()
}

// pipes is a transport that reaches a server without sockets, so that a test can
// have a clock of its own.
type pipes struct{ s *server }

func (pipes) Scheme() string { return "pipe" }

func (pipes) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{Network: "pipe", Address: u.Host, ServerName: u.Host, Local: true}, nil
}

func (p pipes) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	client, server := net.Pipe()
	p.s.running.Go(func() { p.s.serve(server) })
	return client, nil
}

// instant is a timer that fires at once and notes what it was asked for.
type instant struct {
	waits *[]time.Duration
	c     chan time.Time
}

func (i *instant) Start(d time.Duration) {
	if i.waits != nil {
		*i.waits = append(*i.waits, d)
	}
	i.c = make(chan time.Time, 1)
	i.c <- time.Time{}
}
func (i *instant) Stop()               {}
func (i *instant) C() <-chan time.Time { return i.c }

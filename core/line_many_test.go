package core_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
)

// mailStore is a server that keeps how often each recipient has received a
// message, and may break connections.
type mailStore struct {
	extensions []string
	seed       int64 // with one, a fifth of the connections is cut

	mu      sync.Mutex
	stored  map[string]int
	dialled int
	open    int // connections that the client has not closed
	most    int
	running sync.WaitGroup
}

// newMailStore returns a client of a store. Both are closed when the test ends.
func newMailStore(t *testing.T, s *mailStore, change ...func(*core.Config)) *core.Client {
	t.Helper()
	s.stored = map[string]int{}
	c := newClientOver(t, s, change...)
	t.Cleanup(func() {
		_ = c.Close()
		s.running.Wait()
		if s.open != 0 {
			t.Errorf("%d connections are open after Close", s.open)
		}
	})
	return c
}

func (*mailStore) Scheme() string { return "store" }

func (*mailStore) Endpoint(*url.URL) (core.Endpoint, error) { return core.Endpoint{Local: true}, nil }

func (s *mailStore) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled++
	s.open++
	s.most = max(s.most, s.open)
	client, server := net.Pipe()
	if s.seed != 0 {
		if r := rand.New(rand.NewSource(s.seed + int64(s.dialled))); r.Intn(5) == 0 {
			server = &brittle{Conn: server, left: 100 + r.Intn(4000)}
		}
	}
	s.running.Go(func() {
		defer server.Close()
		s.serve(server)
	})
	return &tallied{Conn: client, closed: sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	})}, nil
}

type tallied struct {
	net.Conn
	closed func()
}

func (c *tallied) Close() error {
	c.closed()
	return c.Conn.Close()
}

// brittle is a connection that breaks after so many octets, in whatever
// direction.
type brittle struct {
	net.Conn
	left int
}

func (c *brittle) spend(n int, err error) (int, error) {
	if c.left -= n; c.left <= 0 {
		_ = c.Close()
		return n, io.ErrClosedPipe
	}
	return n, err
}

func (c *brittle) Read(p []byte) (int, error) {
	return c.spend(c.Conn.Read(p[:min(len(p), max(c.left, 1))]))
}
func (c *brittle) Write(p []byte) (int, error) {
	return c.spend(c.Conn.Write(p[:min(len(p), max(c.left, 1))]))
}

// received returns how often a recipient has received a message.
func (s *mailStore) received(address string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored[address]
}

// recipients returns how many have received one.
func (s *mailStore) recipients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored)
}

// serve speaks the server's side. What it says leaves when it waits for more, as
// RFC 2920 §3.2 has it.
func (s *mailStore) serve(conn net.Conn) {
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	say := func(line string) { _, _ = out.WriteString(line + "\r\n") }
	keep := func(to []string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, x := range to {
			s.stored[x]++
		}
	}
	say("220 hi")
	var (
		to   []string
		mail bool
	)
	for {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := line[:4]; verb {
		case "EHLO":
			say("250-mx")
			for _, x := range s.extensions {
				say("250-" + x)
			}
			say("250 HELP")
		case "RSET":
			to, mail = nil, false
			say("250 ok")
		case "MAIL":
			if mail {
				say("503 there is a transaction")
				continue
			}
			mail = true
			say("250 ok")
		case "RCPT":
			if !mail {
				say("503 no transaction")
				continue
			}
			to = append(to, line[len("RCPT TO:<"):len(line)-3])
			say("250 ok")
		case "BDAT":
			var n int
			if _, err := fmt.Sscanf(line, "BDAT %d", &n); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, in, int64(n)); err != nil {
				return
			}
			if len(to) == 0 {
				say("503 no recipient")
				continue
			}
			if strings.Contains(line, "LAST") {
				keep(to)
				to, mail = nil, false
			}
			say("250 ok")
		case "DATA":
			if len(to) == 0 {
				say("503 no recipient")
				continue
			}
			say("354 go on")
			if out.Flush() != nil {
				return
			}
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			keep(to)
			to, mail = nil, false
			say("250 ok")
		case "QUIT":
			say("221 bye")
			_ = out.Flush()
			return
		default:
			say("500 what")
		}
	}
}

// stores are servers of all kinds.
var stores = map[string][]string{
	"CHUNKING":   {"PIPELINING", "CHUNKING"},
	"PIPELINING": {"PIPELINING"},
	"plain":      nil,
}

func TestPool_aThousandSenders(t *testing.T) {
	const messages = 1000
	for name, extensions := range stores {
		for _, depth := range []int{1, 16} {
			for _, seed := range []int64{0, 1} {
				t.Run(fmt.Sprintf("%s, depth %d, seed %d", name, depth, seed), func(t *testing.T) {
					s := &mailStore{extensions: append([]string{"LIMITS MAILMAX=20"}, extensions...), seed: seed}
					if seed == 0 {
						s.extensions = extensions
					}
					c := newMailStore(t, s, shared(depth, 8))
					receipts := make([]*core.Receipt, messages)
					var senders sync.WaitGroup
					for i := range messages {
						senders.Go(func() {
							m := numbered(i)
							switch {
							case i%97 == 0:
								m.Body = core.String(strings.Repeat("large\r\n", 20_000))
							case i%89 == 0:
								m.Body = core.Reader(strings.NewReader("once\r\n"))
							}
							receipts[i], _ = c.Send(t.Context(), m)
						})
					}
					senders.Wait()
					_ = c.Close()
					counts := map[core.Outcome]int{}
					for i, r := range receipts {
						x := r.Recipients[0]
						counts[x.Outcome]++
						n := s.received(x.Address)
						if n > 1 || x.Outcome == core.Accepted && n != 1 || (x.Outcome == core.Deferred || x.Outcome == core.Refused) && n != 0 {
							t.Errorf("message %d is %s and was received %d times: %v", i, x.Outcome, n, x.Err)
						}
						if x.Outcome == core.Refused || seed == 0 && x.Outcome != core.Accepted {
							t.Errorf("message %d is %s: %v", i, x.Outcome, x.Err)
						}
						if errors.Is(x.Err, core.ErrProtocol) {
							t.Errorf("message %d: %v", i, x.Err)
						}
					}
					t.Logf("%v over %d connections", counts, s.dialled)
					if s.most > 8 {
						t.Errorf("%d connections were open at a time, 8 are the most", s.most)
					}
				})
			}
		}
	}
}

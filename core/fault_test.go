package core_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/core"
)

// The strongest test: the connection is cut, and in another run stalled, at
// every octet of a good dialogue, in each direction. The server's store is the
// oracle: who was reported accepted has the message, once; who was reported
// refused or deferred does not have it; and unknown is nobody to whom the end
// of the content had not begun to be written.
func TestSend_faultAtEveryOctet_J9(t *testing.T) {
	for _, mode := range []store{
		{name: "pipelined", pipelining: true},
		{name: "one by one"},
		{name: "LMTP", pipelining: true, protocol: core.LMTP},
	} {
		t.Run(mode.name, func(t *testing.T) {
			good := sendThrough(t, &relay{store: mode, limit: -1})
			if good.up == 0 || good.down == 0 || len(good.stored) != 2 {
				t.Fatalf("the dialogue to break is no good one: %+v", good)
			}
			for _, stall := range []bool{false, true} {
				for n := range good.up {
					sendThrough(t, &relay{store: mode, limit: n, up: true, stall: stall})
				}
				for n := range good.down {
					sendThrough(t, &relay{store: mode, limit: n, stall: stall})
				}
			}
		})
	}
}

const faultContent = "Subject: x\r\n\r\n.hello\r\n"

type observed struct {
	up, down int // octets
	stored   map[string]int
}

// sendThrough sends one message to three recipients, of whom the server refuses
// one, through a connection that breaks.
func sendThrough(t *testing.T, r *relay) (seen observed) {
	where := fmt.Sprintf("limit %d, up %v, stall %v", r.limit, r.up, r.stall)
	synctest.Test(t, func(t *testing.T) {
		r.store.stored = map[string]int{}
		c, err := core.NewClient(core.Config{Endpoint: "relay://x", Transports: []core.Transport{r}, LocalName: "client.example"})
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := c.Send(t.Context(), &core.Message{From: "a@example.com", To: core.Recipients("b@example.com", "refused@example.com", "c@example.com"), Body: core.String(faultContent)})
		_ = c.Close()
		r.running.Wait()
		seen = observed{r.count[0], r.count[1], r.store.stored}
		if r.limit < 0 && outcomes(receipt) != "accepted 250; refused 550; accepted 250" {
			t.Errorf("%s: %s: %v", where, outcomes(receipt), err)
		}
		for _, x := range receipt.Recipients {
			n := r.store.stored[x.Address]
			switch x.Outcome {
			case core.Accepted:
				if n != 1 {
					t.Errorf("%s: %s was accepted and has the message %d times", where, x.Address, n)
				}
			case core.Unknown:
				if n > 1 || r.up && r.limit < r.contentAt {
					t.Errorf("%s: %s is unknown (%d times): %v", where, x.Address, n, x.Err)
				}
			case core.Refused, core.Deferred:
				if n != 0 {
					t.Errorf("%s: %s is %s and has the message: %v", where, x.Address, x.Outcome, x.Err)
				}
			default:
				t.Errorf("%s: %s is %s", where, x.Address, x.Outcome)
			}
			if x.Outcome == core.Refused && x.Reply.Code != 550 {
				t.Errorf("%s: %s is refused for want of a connection: %v", where, x.Address, x.Err)
			}
		}
	})
	return seen
}

// relay stands between a client and the server, and breaks.
type relay struct {
	store     store
	limit     int  // octets that pass in one direction; -1 for any number
	up, stall bool // the direction is to the server; break by silence

	mu        sync.Mutex
	count     [2]int // octets to the server, and back
	contentAt int    // how many had gone up when the content's write began
	running   sync.WaitGroup
}

func (*relay) Scheme() string { return "relay" }

func (r *relay) Endpoint(*url.URL) (core.Endpoint, error) {
	return core.Endpoint{Local: true, Protocol: r.store.protocol}, nil
}

func (r *relay) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	client, near := net.Pipe()
	far, server := net.Pipe()
	r.running.Go(func() { r.store.serve(server) })
	r.running.Go(func() { r.pass(far, near, 0) })
	r.running.Go(func() { r.pass(near, far, 1) })
	return client, nil
}

// pass copies octets until the limit is reached, and then breaks.
func (r *relay) pass(dst, src net.Conn, direction int) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		if direction == 0 && strings.HasPrefix(string(buf[:n]), "Subject:") {
			r.contentAt = r.count[0]
		}
		left := r.limit - r.count[direction]
		broken := r.limit >= 0 && r.up == (direction == 0) && n >= left
		if broken {
			n = left
		}
		r.count[direction] += n
		r.mu.Unlock()
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
		if broken {
			if r.stall {
				_, _ = io.Copy(io.Discard, src)
			}
			return
		}
	}
}

// store is a server that keeps what it accepts.
type store struct {
	name       string
	pipelining bool
	protocol   core.Protocol
	stored     map[string]int
}

func (s *store) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	say := func(lines ...string) { _, _ = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n") }
	say("220 hi")
	var to []string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := line[:4]; {
		case verb == "EHLO" || verb == "LHLO":
			if s.pipelining {
				say("250-mx", "250 PIPELINING")
			} else {
				say("250 mx")
			}
		case verb == "RCPT" && strings.Contains(line, "refused"):
			say("550 no")
		case verb == "RCPT":
			to = append(to, line[len("RCPT TO:<"):len(line)-3])
			say("250 ok")
		case verb == "DATA":
			say("354 go on")
			var content strings.Builder
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				content.WriteString(strings.TrimPrefix(line, "."))
			}
			if content.String() != faultContent+"\r\n" {
				to = nil // and the client will hear that it was accepted: the test fails
			}
			for _, x := range to {
				s.stored[x]++
				if s.protocol == core.LMTP {
					say("250 ok")
				}
			}
			if s.protocol == core.SMTP {
				say("250 ok")
			}
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

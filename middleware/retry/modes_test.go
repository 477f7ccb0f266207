package retry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cenkalti/backoff/v4"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/retry"
)

// dice are thrown by many at the same time.
type dice struct {
	mu     sync.Mutex
	random *rand.Rand
}

func newDice() *dice { return &dice{random: rand.New(rand.NewSource(1))} }

func (d *dice) roll(sides int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.random.Intn(sides)
}

// sometimes returns the reply once in so many times.
func (d *dice) sometimes(sides int, line string) *core.Reply {
	if d.roll(sides) == 0 {
		return smtptest.Reply(line)
	}
	return nil
}

// cutting is a transport whose connections may break after some octets, in
// either direction.
type cutting struct {
	core.Transport
	dice *dice
	cuts *atomic.Int32
}

func (c cutting) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := c.Transport.Dial(ctx, e)
	if err != nil {
		return nil, err
	}
	k := &cutConn{Conn: conn, cuts: c.cuts, in: 1 << 30, out: 1 << 30}
	switch c.dice.roll(3) {
	case 0:
		k.in = 200 + c.dice.roll(20_000)
	case 1:
		k.out = 200 + c.dice.roll(20_000)
	}
	return k, nil
}

type cutConn struct {
	net.Conn
	cuts    *atomic.Int32
	in, out int // octets until it breaks; each is used by one goroutine at a time
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.in)])
	if c.in -= n; c.in == 0 {
		c.cuts.Add(1)
		_ = c.Close()
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	if len(p) >= c.out {
		c.cuts.Add(1)
		n, _ := c.Conn.Write(p[:c.out])
		_ = c.Close()
		return n, net.ErrClosed
	}
	c.out -= len(p)
	return c.Conn.Write(p)
}

func (c *cutConn) NetConn() net.Conn { return c.Conn }

// The store of the server says who has the message: who is accepted has it once,
// who is in doubt once or not at all, and nobody else.
func TestAThousandMessagesThroughAllThatCanHappen(t *testing.T) {
	for _, mode := range []struct {
		name   string
		change func(*core.Config)
	}{
		{"with PIPELINING and CHUNKING", func(*core.Config) {}},
		{"without", func(c *core.Config) { c.MaskExtensions = []string{"PIPELINING", "CHUNKING"} }},
		{"with depth 16", func(c *core.Config) { c.PipelineDepth = 16 }},
		{"with depth 16 and PIPELINING alone", func(c *core.Config) { c.PipelineDepth, c.MaskExtensions = 16, []string{"CHUNKING"} }},
	} {
		t.Run(mode.name, func(t *testing.T) {
			d := newDice()
			var cuts atomic.Int32
			server := smtptest.NewServer(t, smtptest.ServerOptions{
				Mail: func(smtptest.Envelope) *core.Reply {
					if r := d.sometimes(100, "421 4.3.2 closing"); r != nil {
						return r
					}
					return d.sometimes(8, "451 4.3.0 later")
				},
				Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
					if strings.HasPrefix(to.Address, "never") {
						return smtptest.Reply("550 5.1.1 no such user")
					}
					return d.sometimes(5, "450 4.2.0 Greylisted")
				},
				Content: func(smtptest.Message) *core.Reply { return d.sometimes(10, "452 4.3.1 disk full") },
			})
			config := server.Config()
			mode.change(&config)
			config.MaxSessions = 8
			config.Transports = []core.Transport{cutting{config.Transports[0], d, &cuts}}
			config.Interceptors = []core.Interceptor{mustNew(t, retry.Config{Attempts: 6, NewTimer: func() backoff.Timer { return new(instant) }, Budget: retry.Budget{Ratio: -1}})}
			client, err := core.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			receipts := make([]*core.Receipt, 1000)
			var group sync.WaitGroup
			for n := range receipts {
				group.Go(func() {
					m := &core.Message{From: "me@example.com", Body: core.String(content), To: core.Recipients(
						fmt.Sprintf("a%d@example.net", n), fmt.Sprintf("b%d@example.net", n), fmt.Sprintf("never%d@example.net", n))}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if d.roll(50) == 0 {
						cancel()
					}
					var err error
					receipts[n], err = client.Send(ctx, m)
					if errors.Is(err, retry.ErrBudget) {
						t.Error(err)
					}
				})
			}
			group.Wait()
			_ = client.Close()
			_ = server.Close()

			stored := map[string]int{}
			for _, m := range server.Messages() {
				for _, to := range m.To {
					stored[to.Address]++
				}
			}
			outcomes := map[core.Outcome]int{}
			again := 0
			for _, receipt := range receipts {
				for _, r := range receipt.Recipients {
					outcomes[r.Outcome]++
					if r.Outcome == core.Accepted && r.Attempts > 1 {
						again++
					}
					n := stored[r.Address]
					switch {
					case r.Outcome == core.Accepted && n == 1:
					case r.Outcome == core.Unknown && n <= 1:
					case (r.Outcome == core.Deferred || r.Outcome == core.Refused) && n == 0:
					default:
						t.Errorf("%s is %v and has the message %d times: %v", r.Address, r.Outcome, n, r.Err)
					}
				}
			}
			if outcomes[core.Accepted] < 1500 || again < 200 || cuts.Load() < 5 {
				t.Errorf("the outcomes were %v, %d were accepted after a retry, and %d connections were cut: too little happened", outcomes, again, cuts.Load())
			}
		})
	}
}

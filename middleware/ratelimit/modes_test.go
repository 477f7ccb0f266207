package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/ratelimit"
)

// modes are the ways in which a session carries transactions.
var modes = []struct {
	name   string
	change func(*core.Config)
}{
	{"with PIPELINING and CHUNKING", func(*core.Config) {}},
	{"without", func(c *core.Config) { c.MaskExtensions = []string{"PIPELINING", "CHUNKING"} }},
	{"with depth 16", func(c *core.Config) { c.PipelineDepth = 16 }},
}

// open counts, on the side of the server, the transactions that are open.
type open struct {
	mu        sync.Mutex
	now, most int
	mails     []time.Time
}

func (o *open) mail(smtptest.Envelope) *core.Reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now++
	o.most = max(o.most, o.now)
	o.mails = append(o.mails, time.Now())
	return nil
}

func (o *open) content(smtptest.Message) *core.Reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now--
	return nil
}

func TestAThousandMessagesToAServer(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			o := &open{}
			server := smtptest.NewServer(t, smtptest.ServerOptions{Mail: o.mail, Content: o.content})
			config := server.Config()
			mode.change(&config)
			config.MaxSessions = 16
			rate := ratelimit.Rate{Count: 2000, Per: time.Second, Burst: 100}
			config.Interceptors = []core.Interceptor{mustNew(t, ratelimit.Config{Messages: rate, Concurrent: 3})}
			client, err := core.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewSource(1))
			start := time.Now()
			var group sync.WaitGroup
			left := 0
			for n := range 1000 {
				ctx, cancel := context.WithCancel(t.Context())
				leaves := random.Intn(4) == 0
				if leaves { // before its turn comes, or not
					time.AfterFunc(time.Duration(random.Intn(100))*time.Millisecond, cancel)
					left++
				}
				group.Go(func() {
					defer cancel()
					m := message("me@example.com", 1)
					m.To = core.Recipients(fmt.Sprintf("r%d@example.net", n))
					if _, err := client.Send(ctx, m); err != nil && !leaves {
						t.Error(err)
					}
				})
			}
			group.Wait()
			took := time.Since(start)
			_ = client.Close()
			if got := len(server.Messages()); got < 1000-left {
				t.Errorf("the server has %d messages, want at least %d", got, 1000-left)
			}
			if most := 100 + 1 + int(took.Seconds()*2000); len(o.mails) > most {
				t.Errorf("there were %d transactions in %v, want %d at most", len(o.mails), took, most)
			}
		})
	}
}

func TestConcurrentHoldsOnTheWire(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			o := &open{}
			server := smtptest.NewServer(t, smtptest.ServerOptions{Mail: o.mail, Content: o.content})
			config := server.Config()
			mode.change(&config)
			config.MaxSessions = 16
			config.Interceptors = []core.Interceptor{mustNew(t, ratelimit.Config{Concurrent: 3, Key: ratelimit.ByEndpoint})}
			client, err := core.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			var group sync.WaitGroup
			for range 300 {
				group.Go(func() {
					if _, err := client.Send(t.Context(), message("me@example.com", 2)); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			if o.most > 3 || o.now != 0 {
				t.Errorf("%d transactions were open at a time, and %d are, want 3 and 0", o.most, o.now)
			}
		})
	}
}

func TestAServerThatAsksForLess(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			c := &changes{}
			var once sync.Once
			server := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(smtptest.Envelope) (reply *core.Reply) {
				once.Do(func() { reply = smtptest.Reply("421 4.7.0 too many messages") })
				return reply
			}})
			config := server.Config()
			mode.change(&config)
			config.Interceptors = []core.Interceptor{mustNew(t, ratelimit.Config{
				Concurrent: 2, Adaptive: true, Recovery: time.Hour, Key: ratelimit.ByEndpoint, Notify: c.notify,
			})}
			client, err := core.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			for range 3 {
				_, _ = client.Send(t.Context(), message("me@example.com", 1))
			}
			if len(c.list) != 1 || c.list[0].Factor != 0.5 || c.list[0].Reply.Code != 421 {
				t.Errorf("the changes are %+v, want one to a half with 421", c.list)
			}
			if got := len(server.Messages()); got != 2 {
				t.Errorf("the server has %d messages, want 2", got)
			}
		})
	}
}

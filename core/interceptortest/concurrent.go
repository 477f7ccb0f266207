package interceptortest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// concurrencyRules are about many messages at the same time.
func concurrencyRules() []rule {
	return []rule{
		{name: "one value serves two clients and many goroutines", cases: eachSession((*bench).crowd)},
		{name: "no message waits for another", cases: []testCase{{"", (*bench).meet}}},
	}
}

// crowd sends messages from many goroutines through two clients that share the
// interceptor. Every fourth is refused.
func (b *bench) crowd(s session) {
	const goroutines, each = 8, 4
	i := b.interceptor()
	var servers []*smtptest.Server
	var clients []*core.Client
	for range 2 {
		server := b.server(smtptest.ServerOptions{Protocol: s.protocol, Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
			if to.Address[0] == 'x' {
				return smtptest.Reply("550 5.1.1 no such mailbox")
			}
			return nil
		}})
		c := b.client(s.configure(server.Config()), i)
		if c == nil {
			return
		}
		servers, clients = append(servers, server), append(clients, c)
	}
	var running sync.WaitGroup
	for n, c := range clients {
		for g := range goroutines {
			running.Go(func() {
				for k := range each {
					to, want := fmt.Sprintf("b%d-%d-%d@example.net", n, g, k), "accepted 250"
					if k == each-1 {
						to, want = "x"+to, "refused 550"
					}
					r := b.send(b.scope.ctx, c, message(text(to, 0), to))
					if !r.back {
						return
					}
					if got := outcomes(r.receipt); got != want {
						b.foundf("the outcome of one of the messages is %q, and is to be %q: %v", got, want, r.err)
					}
				}
			})
		}
	}
	running.Wait()
	if b.stuck.Load() {
		return
	}
	for _, server := range servers {
		messages := server.Messages()
		if want := goroutines * (each - 1); len(messages) != want {
			b.foundf("%d messages have arrived, and %d were accepted", len(messages), want)
		}
		for _, m := range messages {
			if err := b.expect(text(m.To[0].Address, 0), m.Content); err != nil {
				b.foundf("the message to %s: %v", m.To[0].Address, err)
			}
		}
	}
}

// meet sends two messages, each of which the server answers when it has both.
func (b *bench) meet() {
	var came atomic.Int32
	both := make(chan struct{})
	server := b.server(smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		if came.Add(1) == 2 {
			close(both)
		}
		select {
		case <-both:
			return nil
		case <-time.After(b.run.config.Patience / 2):
		case <-b.released:
		}
		return smtptest.Reply("554 5.3.0 alone")
	}})
	c := b.client(server.Config(), b.interceptor())
	if c == nil {
		return
	}
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			r := b.send(b.scope.ctx, c, message(text("meet", 0), "bob@example.net"))
			switch {
			case !r.back || r.err == nil:
			case r.receipt.Reply.Code == 554:
				b.foundf("a message was held back for %v, until the one before it was answered", b.run.config.Patience/2)
			default:
				b.foundf("a message was not accepted: %v", r.err)
			}
		})
	}
	running.Wait()
}

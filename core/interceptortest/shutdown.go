package interceptortest

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// shutdownRule is about a client that is shut down while messages are under way.
func shutdownRule() rule {
	list := rule{name: "a client can be shut down while messages are under way"}
	for _, inTime := range []bool{true, false} {
		name := "and waits for them"
		if !inTime {
			name = "and cuts them off"
		}
		for _, s := range sessions() {
			list.cases = append(list.cases, testCase{name + ", " + s.name, func(b *bench) { b.shutDown(s, inTime) }})
		}
	}
	return list
}

// shutDown shuts a client down while the server has messages that it does not
// answer.
func (b *bench) shutDown(s session, inTime bool) {
	const messages = 3
	arrived, answer := make(chan struct{}, messages), make(chan struct{})
	server := b.server(smtptest.ServerOptions{Protocol: s.protocol, Content: func(smtptest.Message) *core.Reply {
		select {
		case arrived <- struct{}{}:
		default: // there are more than were sent
		}
		select {
		case <-answer:
		case <-b.released:
		}
		return nil
	}})
	config := s.configure(server.Config())
	config.MaxSessions = messages
	c := b.client(config, b.interceptor())
	if c == nil {
		return
	}
	results := make(chan result, messages)
	for range messages {
		go func() { results <- b.send(b.scope.ctx, c, message(text("under way", 0), "bob@example.net")) }()
	}
	for range messages {
		select {
		case <-arrived:
		case r := <-results:
			if r.back {
				b.foundf("a message was not to end before the server answers: %q, %v", outcomes(r.receipt), r.err)
			}
			close(answer)
			return
		case <-time.After(b.run.config.Patience / 2):
			b.foundf("not all of the messages have come to the server at the same time")
			close(answer)
			return
		}
	}
	late := make(chan result, 1)
	if s.depth <= 1 {
		// There is no session for it.
		go func() { late <- b.send(b.scope.ctx, c, message(text("too late", 0), "carol@example.net")) }()
	} else {
		close(late)
	}
	ctx, cancel := context.WithCancel(b.scope.ctx)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- c.Shutdown(ctx) }()
	if r, ok := <-late; ok && r.back && (outcomes(r.receipt) != "deferred" || !errors.Is(r.err, core.ErrClosed)) {
		b.foundf("a message that has no session when the client is shut down is %q, and is to be deferred with ErrClosed: %v", outcomes(r.receipt), r.err)
	}
	want := "unknown"
	if inTime {
		want = "accepted 250"
		close(answer)
	} else {
		cancel()
	}
	for range messages {
		r := <-results
		if !r.back {
			return
		}
		if got := outcomes(r.receipt); got != want {
			b.foundf("the outcome of a message that was under way is %q, and is to be %q: %v", got, want, r.err)
		}
	}
	var err error
	b.await("Client.Shutdown", func() { err = <-over })
	if !b.stuck.Load() && (err == nil) != inTime {
		b.foundf("Shutdown returned %v", err)
	}
}

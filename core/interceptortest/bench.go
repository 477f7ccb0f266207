package interceptortest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// bench is what a case works with.
type bench struct {
	run    *run
	scope  *scope
	number string

	clients  []*core.Client
	servers  []func() error
	released chan struct{} // closed when the case is over: nothing waits any longer
	release  func()        // closes it

	stuck atomic.Bool // something has not returned
	mu    sync.Mutex
	found []string
}

// session is a kind of session that messages are sent on.
type session struct {
	name     string
	protocol core.Protocol
	mask     []string
	depth    int
}

func sessions() []session {
	return []session{
		{name: "with PIPELINING and CHUNKING"},
		{name: "with neither PIPELINING nor CHUNKING", mask: []string{"PIPELINING", "CHUNKING"}},
		{name: "over LMTP", protocol: core.LMTP},
		{name: "with PipelineDepth 16", depth: 16},
	}
}

// configure adds to a server's configuration what makes the session one of this
// kind.
func (s session) configure(config core.Config) core.Config {
	config.MaskExtensions, config.PipelineDepth = s.mask, s.depth
	return config
}

// eachSession returns a case for each kind of session.
func eachSession(do func(*bench, session)) (cases []testCase) {
	for _, s := range sessions() {
		cases = append(cases, testCase{s.name, func(b *bench) { do(b, s) }})
	}
	return cases
}

// interceptor returns a new one of those that are tested.
func (b *bench) interceptor() core.Interceptor { return b.run.config.New(b.scope) }

// server starts a server.
func (b *bench) server(options smtptest.ServerOptions) *smtptest.Server {
	s, err := smtptest.StartServer(options)
	if err != nil {
		b.scope.Fatal("interceptortest: ", err)
	}
	b.servers = append(b.servers, s.Close)
	return s
}

// script starts a script.
func (b *bench) script(dialogue string) *smtptest.Script {
	s, err := smtptest.StartScript(dialogue, smtptest.Options{})
	if err != nil {
		b.scope.Fatal("interceptortest: ", err)
	}
	b.servers = append(b.servers, s.Close)
	return s
}

// client returns a client, or nil if there can be none with these interceptors.
func (b *bench) client(config core.Config, interceptors ...core.Interceptor) *core.Client {
	config.Interceptors = interceptors
	c, err := core.NewClient(config)
	if err != nil {
		b.foundf("no client can be made: %v", err)
		return nil
	}
	b.clients = append(b.clients, c)
	return c
}

// result is what Send returned.
type result struct {
	receipt *core.Receipt
	err     error
	back    bool // it has returned
}

// send sends a message. It does not wait for ever.
func (b *bench) send(ctx context.Context, c *core.Client, m *core.Message) result {
	return b.sendWithin(ctx, c, m, b.run.config.Patience)
}

func (b *bench) sendWithin(ctx context.Context, c *core.Client, m *core.Message, patience time.Duration) (r result) {
	returned := make(chan result, 1)
	go func() {
		receipt, err := c.Send(ctx, m)
		returned <- result{receipt, err, true}
	}()
	select {
	case r = <-returned:
	case <-time.After(patience):
		b.blocked("Send", patience)
	}
	return r
}

// await runs what must come to its end.
func (b *bench) await(what string, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(b.run.config.Patience):
		b.blocked(what, b.run.config.Patience)
	}
}

func (b *bench) blocked(what string, patience time.Duration) {
	b.foundf("%s has not returned after %v; these goroutines are there:\n%s", what, patience, b.goroutines())
	b.stuck.Store(true)
}

// close closes the clients and then the servers, and cleans up. It may be called
// again.
func (b *bench) close() {
	b.release()
	if b.stuck.Load() {
		// What hangs is not waited for: all that can be done is to cut it off.
		for _, c := range b.clients {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			go func() { _ = c.Shutdown(ctx) }()
		}
	} else {
		for _, c := range b.clients {
			b.await("Client.Close", func() { _ = c.Close() })
		}
	}
	for _, closeServer := range b.servers {
		if err := closeServer(); err != nil && !b.stuck.Load() {
			b.foundf("the server complains: %v", err)
		}
	}
	b.clients, b.servers = nil, nil
	b.scope.end()
}

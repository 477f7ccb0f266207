package interceptortest

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// What a server says up to a stage, one command at a time.
const (
	toEHLO    = "S: 220 hi\nC: EHLO client.example\n"
	toMail    = toEHLO + "S: 250 mx.example\nC/ MAIL FROM:.*\n"
	toRcpt    = toMail + "S: 250 ok\nC/ RCPT TO:.*\n"
	toData    = toRcpt + "S: 250 ok\nC: DATA\n"
	toContent = toData + "S: 354 go on\n"
)

// contextRule is about contexts that end.
func contextRule() rule {
	list := rule{name: "a context that ends ends the delivery"}
	add := func(name string, run func(*bench)) { list.cases = append(list.cases, testCase{name, run}) }
	add("before it begins", func(b *bench) {
		ctx, cancel := context.WithCancel(b.scope.ctx)
		cancel()
		b.cancelled(ctx, cancel, core.Config{}, nil, "deferred")
	})
	add("while a connection is made", func(b *bench) {
		ctx, cancel := context.WithCancel(b.scope.ctx)
		b.cancelled(ctx, cancel, core.Config{}, func(t core.Transport) core.Transport { return slow{t, cancel} }, "deferred")
	})
	for _, x := range []struct{ name, dialogue, mark, want string }{
		{"while the greeting is awaited", "HANG", "", "deferred"},
		{"while the reply to EHLO is awaited", toEHLO + "HANG", "EHLO", "deferred"},
		{"while the reply to MAIL is awaited", toMail + "HANG", "MAIL", "deferred"},
		{"while the reply to RCPT is awaited", toRcpt + "HANG", "RCPT", "deferred"},
		{"while the reply to DATA is awaited", toData + "HANG", "DATA\r\n", "deferred"},
		{"while the reply to content is awaited", toContent + "CONTENT\nHANG", "\r\n.\r\n", "unknown"},
	} {
		add(x.name, func(b *bench) {
			ctx, cancel := context.WithCancel(b.scope.ctx)
			over := func(t core.Transport) core.Transport { return tap{t, x.mark, cancel} }
			b.cancelled(ctx, cancel, b.script(x.dialogue).Config(), over, x.want)
		})
	}
	add("while the body is read", (*bench).cancelledInBody)
	add("when the server has deferred it", (*bench).cancelledBetween)
	return list
}

// cancelled sends a message with a context that will end, over what the
// configuration reaches, or a server that works.
func (b *bench) cancelled(ctx context.Context, cancel func(), config core.Config, over func(core.Transport) core.Transport, want string) {
	defer cancel()
	if config.Transports == nil {
		config = b.server(smtptest.ServerOptions{}).Config()
	}
	if over != nil {
		config.Transports = []core.Transport{over(config.Transports[0])}
	}
	c := b.client(config, b.interceptor())
	if c == nil {
		return
	}
	b.checkCancelled(b.send(ctx, c, message(text("cancelled", 0), "bob@example.net")), want)
}

func (b *bench) checkCancelled(r result, want string) {
	if !r.back {
		return
	}
	if got := outcomes(r.receipt); got != want || !errors.Is(r.err, context.Canceled) {
		b.foundf("the outcome is %q, and is to be %q, with the error of the context: %v", got, want, r.err)
	}
}

// slow is a transport that makes no connection before its context ends.
type slow struct {
	core.Transport
	begun func()
}

func (s slow) Dial(ctx context.Context, _ core.Endpoint) (net.Conn, error) {
	s.begun()
	<-ctx.Done()
	return nil, ctx.Err()
}

// cancelledInBody has a body that blocks until it is closed.
func (b *bench) cancelledInBody() {
	for _, s := range sessions() {
		server := b.server(smtptest.ServerOptions{Protocol: s.protocol})
		c := b.client(s.configure(server.Config()), b.interceptor())
		if c == nil {
			return
		}
		ctx, cancel := context.WithCancel(b.scope.ctx)
		m := message("", "bob@example.net")
		m.Body = &blocking{text: text("blocked", 0), blocked: cancel, released: b.released}
		b.checkCancelled(b.send(ctx, c, m), "deferred")
		cancel()
		if b.stuck.Load() {
			return
		}
		if n := len(server.Messages()); n > 0 {
			b.foundf("%s: the server has taken the message, which was not whole", s.name)
		}
	}
}

// blocking is a body that yields some text, and then nothing until it is closed.
type blocking struct {
	text     string
	blocked  func()
	released chan struct{} // ends it, too
}

func (*blocking) Size() int64 { return -1 }

func (b *blocking) Open(context.Context) (io.ReadCloser, error) {
	return &blockingReader{Reader: strings.NewReader(b.text), body: b, closed: make(chan struct{})}, nil
}

type blockingReader struct {
	io.Reader
	body   *blocking
	once   sync.Once
	closed chan struct{}
}

func (r *blockingReader) Read(p []byte) (int, error) {
	if n, err := r.Reader.Read(p); err != io.EOF {
		return n, err
	}
	r.body.blocked()
	select {
	case <-r.closed:
	case <-r.body.released:
	}
	return 0, errors.New("interceptortest: the body was closed")
}

func (r *blockingReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// cancelledBetween ends the context when the server has deferred the message, so
// that nobody waits for another try.
func (b *bench) cancelledBetween() {
	ctx, cancel := context.WithCancel(b.scope.ctx)
	defer cancel()
	server := b.server(smtptest.ServerOptions{Rcpt: func(smtptest.Envelope, smtptest.Recipient) *core.Reply {
		return smtptest.Reply("450 4.2.1 later")
	}})
	c := b.client(server.Config(), b.interceptor(), core.Interceptor{
		Name: "interceptortest cancel",
		Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				defer cancel()
				return next(ctx, a)
			}
		},
	})
	if c == nil {
		return
	}
	r := b.send(ctx, c, message(text("cancelled", 0), "bob@example.net"))
	if !r.back {
		return
	}
	if got := outcomes(r.receipt); got != "deferred 450" && got != "deferred" {
		b.foundf("the outcome is %q, and is to be deferred: %v", got, r.err)
	}
	if n := r.receipt.Attempts; n != 1 {
		b.foundf("there were %d attempts, and the context had ended after the first", n)
	}
}

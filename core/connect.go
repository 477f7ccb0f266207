package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Connect is one session being opened, on its way through the interceptors. It
// is valid until the chain returns.
type Connect struct {
	// Endpoint is what is being opened.
	Endpoint Endpoint
	// Steps is what was done, in order, once next has returned. The last one
	// has the error, if there was one.
	Steps []Step
	// Choice is which mechanism was chosen to authenticate with, and why, once
	// next has returned. It is zero if it did not come to that.
	Choice Choice

	session *Session
	stage   *atomic.Uint32 // that it has come to; nil if it is for the greeting only
	once    once
	err     error // what became of it, whatever interceptors make of that
}

// Step is one step of opening a session.
type Step struct {
	// Name is "dial", "greeting", "hello", "tls" or "auth".
	Name string
	// Mechanism is the name of the mechanism that "auth" used, or "".
	Mechanism string
	// Start and End are when it began and ended.
	Start, End time.Time
	// Err is why it failed, or nil.
	Err error
}

// Peer returns what was learnt of the server, once next has returned.
func (c *Connect) Peer() *Peer { return c.session.peer }

// Set attaches a value to the session, before or after next. Interceptors find
// it with [Attempt.Value] and [Exchange.Value], for as long as the session
// lives; with a PipelineDepth, several attempts at a time do. The key is to be
// of a type of the caller's own, as with context.WithValue.
func (c *Connect) Set(key, value any) {
	if c.session.values == nil {
		c.session.values = make(map[any]any)
	}
	c.session.values[key] = value
}

// openSession is the end of the connect chain.
func openSession(ctx context.Context, c *Connect) (err error) {
	if err := c.once.begin("connect"); err != nil {
		return err
	}
	defer c.once.finish()
	defer func() { c.err = err }()
	defer contain("a function of the configuration", &err)
	s := c.session
	if err := c.step("dial", func() error { return s.dial(ctx) }); err != nil {
		return err
	}
	s.conn.watch(ctx)
	defer s.conn.unwatch()
	err = c.converse(ctx)
	if err != nil {
		s.conn.kill(err)
	}
	return err
}

// converse does what stands between a fresh stream and the first MAIL.
func (c *Connect) converse(ctx context.Context) error {
	s := c.session
	if s.config.endpoint.Security == ImplicitTLS {
		if err := c.step("tls", func() error { return s.handshake(ctx) }); err != nil {
			return err
		}
	}
	if err := c.step("greeting", func() error { return s.greet(ctx) }); err != nil || c.stage == nil {
		return err
	}
	if err := c.step("hello", func() error { return s.hello(ctx) }); err != nil {
		return err
	}
	if s.wantsStartTLS() {
		// What the server says under TLS is what counts, so hello is part of it.
		if err := c.step("tls", func() error { return s.startTLS(ctx) }); err != nil {
			return err
		}
		if err := c.step("hello", func() error { return s.hello(ctx) }); err != nil {
			return err
		}
	}
	if err := s.checkTLS(); err != nil {
		return c.step("tls", func() error { return err })
	}
	if len(s.config.auth.list) == 0 {
		return nil
	}
	c.Choice = s.config.auth.choose(s.peer, s.config.AllowInsecureAuth)
	if err := c.Choice.err(s.peer); err != nil {
		return c.step("auth", func() error { return err })
	}
	return c.authenticate(ctx)
}

// authenticate uses the mechanism of the choice, and if the configuration says
// so, those behind it when the server refuses it.
func (c *Connect) authenticate(ctx context.Context) (err error) {
	s := c.session
	for _, candidate := range c.Choice.Candidates {
		if candidate.Err != nil {
			continue
		}
		err = c.step("auth", func() error { return s.authenticate(ctx, candidate.Mechanism) })
		c.Steps[len(c.Steps)-1].Mechanism = candidate.Mechanism.Name()
		refused := errors.Is(err, ErrAuthentication) && ClassOf(err) == Permanent && s.conn.over() == nil
		if !refused || !s.config.AuthFallback {
			break
		}
	}
	return err
}

func (c *Connect) step(name string, do func() error) error {
	if c.stage != nil {
		c.stage.Store(uint32(stageOf(name)))
	}
	step := Step{Name: name, Start: time.Now()}
	step.Err = do()
	step.End = time.Now()
	c.Steps = append(c.Steps, step)
	return step.Err
}

// stageOf returns the stage that the error of a step has.
func stageOf(step string) Stage {
	switch step {
	case "hello":
		return StageHello
	case "tls":
		return StageTLS
	case "auth":
		return StageAuth
	}
	return StageConnect
}

// dial opens the byte stream.
func (s *Session) dial(ctx context.Context) (err error) {
	defer contain(fmt.Sprintf("transport %q", s.config.transport.Scheme()), &err)
	dialCtx, cancel := withTimeout(ctx, s.config.Timeouts.Dial)
	defer cancel()
	raw, err := s.config.transport.Dial(dialCtx, s.config.endpoint)
	if err == nil && raw == nil {
		err = errors.New("the transport returned no connection and no error")
	}
	if err != nil {
		err = explainTimeout(ctx, dialCtx, err, s.config.Timeouts.Dial)
		if e, ok := errors.AsType[*Error](err); ok {
			return e // the transport knows better what it means
		}
		return &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("%w: %w", ErrDisconnected, err)}
	}
	s.conn = newConn(raw)
	s.peer = s.newPeer()
	return nil
}

func (s *Session) newPeer() *Peer {
	e := &s.config.endpoint
	return &Peer{Endpoint: e.URL, ServerName: e.ServerName, Addr: s.conn.raw.RemoteAddr(), Local: e.Local || e.Security == Protected, Protocol: e.Protocol}
}

// handshake puts TLS over the raw connection.
func (s *Session) handshake(ctx context.Context) (err error) {
	defer contain("a function of Config.TLS", &err)
	config, unverified := tlsConfig(s.config.TLS, &s.config.endpoint, s.config.policy)
	tlsCtx, cancel := withTimeout(ctx, s.config.Timeouts.TLS)
	defer cancel()
	_ = s.conn.raw.SetDeadline(time.Time{}) // the context has the time limit now
	stream := tls.Client(s.conn.raw, config)
	if err := stream.HandshakeContext(tlsCtx); err != nil {
		err = explainTimeout(ctx, tlsCtx, err, s.config.Timeouts.TLS)
		e := tlsError(fmt.Errorf("%w: TLS handshake: %w", ErrDisconnected, err), s.config.endpoint.Security)
		s.conn.kill(e)
		return e
	}
	s.conn.secure(stream)
	state := stream.ConnectionState()
	peer := *s.peer
	peer.TLS, peer.TLSError = &state, *unverified
	peer.ClientCertificate = len(config.Certificates) > 0 || config.GetClientCertificate != nil
	s.peer = &peer
	return nil
}

// greet reads the server's greeting, RFC 5321 §3.1.
func (s *Session) greet(ctx context.Context) error {
	s.own.commands = s.own.commands[:0]
	replies, err := s.exchange(ctx, &s.own, nil)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Timeout() && s.peer.TLS == nil && ctx.Err() == nil {
			e.Hint = "a server that waits for TLS says nothing: it is reached with the smtps scheme"
		}
		return err
	}
	reply := replies[0]
	peer := *s.peer
	peer.Greeting = reply
	s.peer = &peer
	if reply.Code != 220 {
		e := replyError(StageConnect, reply)
		if reply.Code < 400 {
			e = protocolError(StageConnect, "greeting %s is not 220", reply)
		}
		s.conn.kill(e)
		return e
	}
	s.state = stateGreeted
	return nil
}

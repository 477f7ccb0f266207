package core

import (
	"context"
	"errors"
	"fmt"
)

// Hello says EHLO, or LHLO on an LMTP session, and learns what the server
// offers. If an SMTP server refuses EHLO as unknown, it says HELO, after which
// no extension is used (RFC 5321 §3.2); not after TLS, and not where
// Config.TLSPolicy requires TLS, since that is an extension too.
func (s *Session) Hello(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	return s.hello(ctx)
}

func (s *Session) hello(ctx context.Context) error {
	verb := "EHLO"
	if s.peer.Protocol == LMTP {
		verb = "LHLO" // RFC 2033 §4.1
	}
	reply, err := s.sayHello(ctx, verb)
	if err != nil {
		return err
	}
	if !reply.Positive() {
		if reply, err = s.helo(ctx, verb, reply); err != nil {
			return err
		}
		reply.Text = "" // what follows HELO announces nothing
	}
	peer := *s.peer
	peer.Extensions, peer.Domain = parseExtensions(reply.Text)
	if masked := s.config.masked(); len(masked) > 0 {
		peer.Extensions = peer.Extensions.without(masked)
	}
	s.peer = &peer
	s.state = stateReady
	s.needsReset = false // EHLO ends a transaction as RSET does, RFC 5321 §4.1.4
	return nil
}

func (s *Session) sayHello(ctx context.Context, verb string) (Reply, error) {
	return s.command(ctx, Command{Verb: verb, Argument: s.config.helloName(s.conn.raw), stage: StageHello, timeout: s.config.Timeouts.Hello})
}

// helo falls back to HELO after a refusal.
func (s *Session) helo(ctx context.Context, verb string, refusal Reply) (Reply, error) {
	refused := replyError(StageHello, refusal)
	switch {
	case refusal.Temporary():
		return Reply{}, refused
	case verb == "LHLO":
		refused.Hint = "is this an LMTP server? SMTP servers are reached with the smtp scheme"
		return Reply{}, refused
	case s.peer.TLS != nil, s.config.policy == TLSRequired, len(s.config.auth.list) > 0:
		refused.Hint = "without EHLO there is neither STARTTLS nor AUTH, and the configuration requires one of them"
		return Reply{}, refused
	}
	reply, err := s.sayHello(ctx, "HELO")
	if err == nil && !reply.Positive() {
		err = replyError(StageHello, reply)
	}
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			e.Err = errors.Join(fmt.Errorf("HELO, after EHLO was refused with %s", refusal), e.Err)
		}
		return Reply{}, err
	}
	return reply, nil
}

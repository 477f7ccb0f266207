package core

import (
	"context"
	"errors"
	"fmt"
)

// StartTLS begins TLS (RFC 3207), verifies the certificate, forgets what the
// server announced in the clear and says EHLO again. The error is of the kind
// [ErrNotSupported] if the server does not offer STARTTLS. If the handshake
// fails the session is over: it never goes back to clear text.
func (s *Session) StartTLS(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if err := s.startTLS(ctx); err != nil {
		return err
	}
	return s.hello(ctx)
}

// wantsStartTLS reports whether a client is to say STARTTLS.
func (s *Session) wantsStartTLS() bool {
	if s.peer.TLS != nil {
		return false
	}
	switch s.config.policy {
	case TLSOff:
		return false
	case TLSRequired:
		return true
	}
	return s.peer.Extensions.starttls
}

// checkTLS refuses credentials and envelopes where the policy requires TLS.
func (s *Session) checkTLS() error {
	if s.config.policy != TLSRequired || s.peer.TLS != nil {
		return nil
	}
	return localError(StageTLS, ErrTLSRequired, "call StartTLS first, use the smtps scheme, or set Config.TLSPolicy")
}

func (s *Session) startTLS(ctx context.Context) error {
	switch {
	case s.peer.TLS != nil:
		return localError(StageTLS, errors.New("the session has TLS already"), "") // RFC 3207 §4.2
	case s.state != stateReady:
		return localError(StageTLS, fmt.Errorf("STARTTLS in a session that is %s", s.state), "call Hello first, and Reset to end a transaction")
	case !s.peer.Extensions.starttls:
		e := &Error{Stage: StageTLS, Class: Permanent, Err: fmt.Errorf("%w: it does not announce STARTTLS", ErrNotSupported),
			Hint: "use the smtps scheme if the server has a port with implicit TLS; Config.TLSPolicy can do without TLS"}
		if s.config.policy == TLSRequired {
			e.Err = fmt.Errorf("%w, and the server does not announce STARTTLS: %w", ErrTLSRequired, ErrNotSupported)
		}
		return e
	}
	// Nothing may be in the same write as STARTTLS, RFC 3207 §4.
	reply, err := s.command(ctx, Command{Verb: "STARTTLS", stage: StageTLS, timeout: s.config.Timeouts.TLS})
	if err != nil {
		return err
	}
	switch {
	case reply.Positive() && reply.Code != 220: // RFC 3207 §4: has it begun, or not?
		err := protocolError(StageTLS, "STARTTLS answered with %d", reply.Code)
		s.conn.kill(err)
		return err
	case reply.Code != 220:
		return replyError(StageTLS, reply)
	}
	if n := s.conn.reader.Buffered(); n > 0 {
		// Whoever stands in between has put it there, to be read as if it had
		// come under TLS (RFC 3207 §6).
		err := protocolError(StageTLS, "%d octets in the clear behind the reply to STARTTLS", n)
		s.conn.kill(err)
		return err
	}
	if err := s.handshake(ctx); err != nil {
		return err
	}
	// RFC 3207 §4.2: forget everything the server said before.
	peer := *s.peer
	peer.Extensions, peer.Domain = Extensions{}, ""
	s.peer = &peer
	s.state = stateGreeted
	return nil
}

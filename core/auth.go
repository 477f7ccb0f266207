package core

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	// maxAuthLine is how long an AUTH command may be, line end included, with
	// its initial response: RFC 4954 §4 keeps it to the 512 octets of RFC 5321
	// §4.5.3.1.4. A longer response waits for a challenge.
	maxAuthLine = 512
	// maxChallenges bounds the rounds of one authentication.
	maxChallenges = 10
)

// Auth authenticates with a mechanism, which the server must announce. The
// error is of the kind [ErrAuthentication] when the server refused; a session
// that was refused, or whose mechanism gave up, can be used further.
func (s *Session) Auth(ctx context.Context, m Mechanism) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if s.state != stateReady {
		return localError(StageAuth, fmt.Errorf("AUTH in a session that is %s", s.state), "call Hello first, and Reset to end a transaction")
	}
	set, err := newMechanismSet([]Mechanism{m}, s.config.LeastMechanism)
	if err != nil {
		return localError(StageAuth, err, "")
	}
	if err := s.checkTLS(); err != nil {
		return err
	}
	if err := set.choose(s.peer, s.config.AllowInsecureAuth).err(s.peer); err != nil {
		return err
	}
	return s.authenticate(ctx, m)
}

// authenticate authenticates with one mechanism, and once more if that has
// other credentials after a refusal.
func (s *Session) authenticate(ctx context.Context, m Mechanism) error {
	if s.peer.Mechanism != "" {
		return localError(StageAuth, fmt.Errorf("the session is authenticated already, by %s", s.peer.Mechanism), "open another session for another identity")
	}
	return s.runMechanism(ctx, m, true)
}

// runMechanism runs one mechanism: RFC 4954 §4, for all mechanisms. If again is set
// it does so once more after a refusal, with the credentials that the mechanism
// has in place of the refused ones.
func (s *Session) runMechanism(ctx context.Context, m Mechanism, again bool) (err error) {
	defer contain(fmt.Sprintf("mechanism %s", m.Name()), &err)
	run := authRun{s: s, ctx: ctx, name: m.Name()}
	var a Authentication
	var initial []byte
	err = run.within(func(ctx context.Context) (err error) {
		a, initial, err = m.Start(ctx, s.peer)
		return err
	})
	if err != nil {
		return run.gaveUp(err)
	}
	if a == nil {
		return localError(StageAuth, fmt.Errorf("mechanism %s started nothing", m.Name()), "Start returns an Authentication or an error")
	}
	defer endAuthentication(a)
	var reply Reply
	reply, err = run.begin(initial)
	for challenges := 0; err == nil && reply.Code == 334; challenges++ {
		if challenges == maxChallenges {
			return run.cancel(fmt.Errorf("%w: it sent more than %d challenges", ErrProtocol, maxChallenges))
		}
		reply, err = run.answer(a, reply)
	}
	switch {
	case err != nil:
		return err
	case reply.Positive() && reply.Code != 235: // RFC 4954 §4: nothing else is success
		err := protocolError(StageAuth, "AUTH answered with %d", reply.Code)
		s.conn.kill(err)
		return err
	case !reply.Positive():
		other, err := run.refused(m, a, reply)
		if other != nil && again {
			return s.runMechanism(ctx, other, false)
		}
		return err
	}
	if err := run.within(a.Done); err != nil {
		// The server did not prove who it is: nothing may be sent to it.
		e := &Error{Stage: StageAuth, Class: Permanent, Err: fmt.Errorf("%s: the server was not authenticated: %w", m.Name(), run.redact(err))}
		if this, ok := errors.AsType[*Error](err); ok {
			e.Class = this.Class // it has no answer, say
		}
		s.conn.kill(e)
		return e
	}
	if e, ok := a.(Expirer); ok {
		s.expires = e.Expires()
	}
	peer := *s.peer
	peer.Mechanism = m.Name()
	s.peer = &peer
	return nil
}

// authRun is one AUTH command and what follows it.
type authRun struct {
	s       *Session
	ctx     context.Context
	name    string
	initial []byte  // the initial response, if it did not fit the AUTH command
	waiting bool    // initial is waiting for the first challenge
	shown   []shown // everything that was sent, as it is and in base64
}

// begin sends AUTH.
func (r *authRun) begin(initial []byte) (Reply, error) {
	var octets []byte
	if initial != nil {
		octets = r.encode(initial)
		if len(initial) == 0 {
			octets = []byte("=") // an empty initial response, RFC 4954 §4
		}
		if len("AUTH ")+len(r.name)+len(" ")+len(octets)+len("\r\n") > maxAuthLine {
			r.initial, r.waiting, octets = initial, true, nil
		}
	}
	return r.send(Command{Verb: "AUTH", Argument: r.name}, octets)
}

// answer has the mechanism answer one challenge.
func (r *authRun) answer(a Authentication, reply Reply) (Reply, error) {
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(reply.Text))
	if err != nil {
		return Reply{}, r.cancel(fmt.Errorf("%w: its challenge is not base64", ErrProtocol))
	}
	if r.waiting {
		r.waiting = false
		if len(challenge) > 0 {
			return Reply{}, r.cancel(fmt.Errorf("%w: it sent a challenge where the initial response was due", ErrProtocol))
		}
		return r.respond(r.initial)
	}
	var response []byte
	err = r.within(func(ctx context.Context) (err error) {
		response, err = a.Next(ctx, challenge)
		return err
	})
	if err != nil {
		return Reply{}, r.cancel(err)
	}
	return r.respond(response)
}

// within has the mechanism do something in the time that it has for that.
func (r *authRun) within(do func(context.Context) error) error {
	timeout := r.s.config.Timeouts.Auth
	ctx, cancel := withTimeout(r.ctx, timeout)
	defer cancel()
	err := do(ctx)
	if err != nil && r.ctx.Err() == nil && ctx.Err() != nil {
		err = fmt.Errorf("it has no answer: %w after %v", os.ErrDeadlineExceeded, timeout)
	}
	return err
}

func (r *authRun) respond(response []byte) (Reply, error) {
	return r.send(Command{}, r.encode(response))
}

// send sends a command that carries octets of the credentials, or none.
func (r *authRun) send(c Command, octets []byte) (Reply, error) {
	c.stage, c.timeout = StageAuth, r.s.config.Timeouts.Auth
	c.secret = &secret{octets: octets, shown: &r.shown}
	reply, err := r.s.command(r.ctx, c)
	if e, ok := errors.AsType[*Error](err); ok {
		e.Reply = c.secret.redact(e.Reply)
	}
	if reply.Code != 334 {
		reply = c.secret.redact(reply)
	}
	return reply, err
}

// cancel tells the server that this side gives up, which is due only after a
// challenge, and returns why.
func (r *authRun) cancel(why error) error {
	gaveUp := r.gaveUp(why)
	reply, err := r.send(Command{Verb: "*"}, nil)
	switch {
	case err != nil: // the session is over; why still comes first
	case reply.Code < 400:
		err := protocolError(StageAuth, "cancelled AUTH answered with %d", reply.Code)
		r.s.conn.kill(err)
	}
	return gaveUp
}

// refused is the end by a reply 4yz or 5yz. It returns the same mechanism with
// other credentials, if there is one and it may be tried.
func (r *authRun) refused(m Mechanism, a Authentication, reply Reply) (other Mechanism, err error) {
	e := authError(reply, r.s.peer)
	if h, ok := a.(RefusalHandler); ok {
		_ = r.within(func(ctx context.Context) error {
			other = h.Refused(ctx, e)
			return nil
		})
		e.Stage, e.Reply = StageAuth, reply
		if e.Err != nil {
			e.Err = r.redact(e.Err)
		}
	}
	switch {
	case !reply.Permanent(), r.ctx.Err() != nil, r.s.conn.over() != nil:
		return nil, e
	case other != nil && (other.Name() != m.Name() || keepsSecret(m) && !keepsSecret(other)):
		return nil, e // it was not chosen for this server
	}
	return other, e
}

// authError tells the replies of RFC 4954 §6 apart.
func authError(reply Reply, peer *Peer) *Error {
	e := replyError(StageAuth, reply)
	switch reply.Code {
	case 432:
		e.Hint = "the server wants to see the password once, in PLAIN under TLS, before it takes this mechanism"
	case 503:
		e.Hint = "the server does not expect AUTH here: it may be off for this port or client"
	case 504, 534:
		e.Err = ErrMechanismRefused
		e.Hint = "configure another mechanism: 534 asks for a stronger one"
	case 530, 538:
		if peer.TLS == nil {
			e.Err = ErrTLSRequired
			e.Hint = "the server wants TLS first: use smtps, or STARTTLS by Config.TLSPolicy"
		}
	case 535:
		e.Err = ErrCredentials
		e.Hint = "check user name and password; some servers want an application's own password, or a token"
	}
	return e
}

// gaveUp is the error of a mechanism.
func (r *authRun) gaveUp(err error) error {
	if r.ctx.Err() != nil {
		return &Error{Stage: StageAuth, Class: Temporary, Err: fmt.Errorf("%s: %w", r.name, contextError(r.ctx))}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		own := *e
		if e.Err != nil {
			own.Err = r.redact(e.Err)
		}
		return &own
	}
	return &Error{Stage: StageAuth, Class: ClassOf(err), Err: fmt.Errorf("%s: %w", r.name, r.redact(err))}
}

// redact removes from an error of the mechanism what it repeats of the
// credentials.
func (r *authRun) redact(err error) error {
	text := err.Error()
	safe := (&secret{shown: &r.shown}).redact(Reply{Text: text}).Text
	if safe == text {
		return err
	}
	return &redactedError{safe, func(target error) bool { return errors.Is(err, target) }}
}

// redactedError is an error whose own text must not be seen. What it wraps is
// kept in a function, where nothing prints it.
type redactedError struct {
	text string
	is   func(target error) bool
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return e.is(target) }

// encode returns a response in base64 and remembers both forms.
func (r *authRun) encode(response []byte) []byte {
	encoded := base64.StdEncoding.AppendEncode(nil, response)
	r.shown = append(r.shown, shown{string(encoded), true}, shown{strings.TrimRight(string(encoded), "="), true}, shown{string(response), false})
	// What a server may repeat alone: PLAIN's parts, and OAuth's token, which
	// stands behind "auth=Bearer ".
	for part := range bytes.FieldsFuncSeq(response, func(c rune) bool { return c < ' ' }) {
		r.shown = append(r.shown, shown{string(part), false}, shown{string(part[bytes.LastIndexByte(part, ' ')+1:]), false})
	}
	return encoded
}

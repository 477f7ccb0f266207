package core

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
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
	set, err := newMechanismSet([]Mechanism{m})
	if err != nil {
		return localError(StageAuth, err, "")
	}
	if err := s.checkTLS(); err != nil {
		return err
	}
	if _, err := set.choose(s.peer, s.config.AllowInsecureAuth); err != nil {
		return err
	}
	return s.authenticate(ctx, m)
}

// authenticate runs one mechanism: RFC 4954 §4, for all mechanisms.
func (s *Session) authenticate(ctx context.Context, m Mechanism) (err error) {
	if s.peer.Mechanism != "" {
		return localError(StageAuth, fmt.Errorf("the session is authenticated already, by %s", s.peer.Mechanism), "open another session for another identity")
	}
	defer contain(fmt.Sprintf("mechanism %s", m.Name()), &err)
	run := authRun{s: s, ctx: ctx, name: m.Name()}
	a, initial, err := m.Start(ctx, s.peer)
	if err != nil {
		return run.gaveUp(err)
	}
	if a == nil {
		return localError(StageAuth, fmt.Errorf("mechanism %s started nothing", m.Name()), "Start returns an Authentication or an error")
	}
	reply, err := run.begin(initial)
	for challenges := 0; err == nil && reply.Code == 334; challenges++ {
		if challenges == maxChallenges {
			return run.cancel(fmt.Errorf("the server sent more than %d challenges", maxChallenges))
		}
		reply, err = run.answer(a, reply)
	}
	switch {
	case err != nil:
		return err
	case !reply.Positive():
		return replyError(StageAuth, reply)
	}
	if err := a.Done(ctx); err != nil {
		// The server did not prove who it is: nothing may be sent to it.
		e := &Error{Stage: StageAuth, Class: Permanent, Err: fmt.Errorf("%s: the server was not authenticated: %w", m.Name(), err)}
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
	initial []byte   // the initial response, if it did not fit the AUTH command
	waiting bool     // initial is waiting for the first challenge
	secrets [][]byte // everything that was sent, as it is and in base64
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
		return Reply{}, r.cancel(errors.New("the server's challenge is not base64"))
	}
	if r.waiting {
		r.waiting = false
		if len(challenge) > 0 {
			return Reply{}, r.cancel(errors.New("the server sent a challenge where the initial response was due"))
		}
		return r.respond(r.initial)
	}
	response, err := a.Next(r.ctx, challenge)
	if err != nil {
		return Reply{}, r.cancel(err)
	}
	return r.respond(response)
}

func (r *authRun) respond(response []byte) (Reply, error) {
	return r.send(Command{}, r.encode(response))
}

// send sends a command that carries octets of the credentials, or none.
func (r *authRun) send(c Command, octets []byte) (Reply, error) {
	c.stage, c.timeout = StageAuth, r.s.config.Timeouts.Auth
	c.secret = &secret{octets: octets, parts: &r.secrets}
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

// gaveUp is the error of a mechanism.
func (r *authRun) gaveUp(err error) error {
	if r.ctx.Err() != nil {
		return &Error{Stage: StageAuth, Class: Temporary, Err: fmt.Errorf("%s: %w", r.name, contextError(r.ctx))}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Stage: StageAuth, Class: ClassOf(err), Err: fmt.Errorf("%s: %w", r.name, err)}
}

// encode returns a response in base64 and remembers both forms.
func (r *authRun) encode(response []byte) []byte {
	encoded := base64.StdEncoding.AppendEncode(nil, response)
	r.secrets = append(r.secrets, encoded, response)
	r.secrets = append(r.secrets, bytes.Split(response, []byte{0})...) // PLAIN's parts
	return encoded
}

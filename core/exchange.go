package core

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Exchange is commands that are handed to the writer together, and their
// replies. With PIPELINING that is "MAIL RCPT… DATA" in one write and one round
// trip (RFC 2920); without, each command is an exchange of its own. The server's
// greeting is an exchange without a command.
//
// Commands and replies are borrowed for the time of the call. Of AUTH, neither
// the secret nor the challenges can be seen.
type Exchange struct {
	// Commands is what is to be written. Only parameters may be changed.
	Commands []Command
	// Replies is what came back, in order, once next has returned. It is
	// shorter than expected when the connection failed or the server closed it
	// with a 421.
	Replies []Reply

	session *Session
	flight  *flight
	once    once

	// What became of it, whatever interceptors make of that.
	replies []Reply
	err     error
}

// Peer returns what is known of the server.
func (x *Exchange) Peer() *Peer { return x.session.peer }

// Value returns what a [Connect] interceptor attached to the session with Set.
func (x *Exchange) Value(key any) any { return x.session.values[key] }

// Pairs yields each command with the replies to it. The greeting has a nil
// command. Use it after next has returned.
func (x *Exchange) Pairs() iter.Seq2[*Command, []Reply] {
	return func(yield func(*Command, []Reply) bool) {
		if len(x.Commands) == 0 {
			yield(nil, x.Replies)
			return
		}
		rest := x.Replies
		for i := range x.Commands {
			n := min(awaits(x.Commands, i, x.Replies), len(rest))
			if !yield(&x.Commands[i], rest[:n:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// exchange is the one path to the wire. It writes w.commands, and content if
// there is any, and returns the replies that were read, which are valid until
// the next exchange with w. The error is nil if there is a reply for every
// command, whatever the replies say.
//
// After an error the session is dead, unless nothing was written (a command
// that cannot be sent, an interceptor that refused) or everything was read (an
// interceptor that disliked a reply).
func (s *Session) exchange(ctx context.Context, w *scratch, content *outgoing) ([]Reply, error) {
	if w.line == nil && s.conn.over() != nil {
		return nil, s.deadError(w.commands)
	}
	f := &w.flight
	*f = flight{w: w, sent: w.commands, content: content, got: f.got[:0]}
	if !s.pipeline.wrapsExchange {
		return s.roundTrip(ctx, f)
	}
	x := &Exchange{session: s, flight: f}
	x.Commands = append(x.Commands, w.commands...)
	interrupt := func() { _ = s.conn.raw.Close() }
	if w.line != nil {
		ctx, interrupt = context.WithCancel(ctx)
		defer interrupt()
	}
	err := s.pipeline.exchange(ctx, x)
	err = x.once.end("exchange", err, interrupt)
	if err == nil {
		err = x.err
	}
	if err != nil {
		err = stageError(firstStage(w.commands), err)
	}
	return x.replies, err
}

// firstStage returns the stage that an exchange belongs to.
func firstStage(commands []Command) Stage {
	if len(commands) == 0 {
		return StageConnect // the greeting
	}
	return commands[0].stage
}

// sendExchange is the end of the exchange chain.
func sendExchange(ctx context.Context, x *Exchange) error {
	if err := x.once.begin("exchange"); err != nil {
		return err
	}
	defer x.once.finish()
	s, f := x.session, x.flight
	if err := x.takeParams(); err != nil {
		return err
	}
	if f.w.line == nil && ctx.Done() != s.conn.ctx.Done() {
		defer s.conn.narrow(ctx)()
	}
	x.replies, x.err = s.roundTrip(ctx, f)
	x.Replies = append(x.Replies[:0], x.replies...)
	if len(f.sent) == 1 && f.sent[0].secret != nil {
		for i := range x.Replies {
			x.Replies[i] = f.sent[0].secret.redact(x.Replies[i])
		}
	}
	return x.err
}

// takeParams takes over the parameters that interceptors have set, and refuses
// any other change.
func (x *Exchange) takeParams() error {
	f := x.flight
	same := len(x.Commands) == len(f.sent)
	for i := 0; same && i < len(f.sent); i++ {
		a, b := &f.sent[i], &x.Commands[i]
		same = a.Verb == b.Verb && a.Path == b.Path && a.Argument == b.Argument && a.Size == b.Size && a.secret == b.secret
	}
	if !same {
		return localError(StagePolicy, errors.New("an exchange interceptor added, dropped, reordered or rewrote commands"), "it may change Params only")
	}
	sent := make([]Command, len(f.sent))
	for i := range sent {
		sent[i] = f.sent[i]
		if sent[i].Verb == "MAIL" || sent[i].Verb == "RCPT" {
			sent[i].Params = x.Commands[i].Params
		}
	}
	f.sent = sent
	return nil
}

// deadError refuses work on a session that is never to be used again.
func (s *Session) deadError(commands []Command) error {
	if s.conn == nil {
		return &Error{Stage: StageConnect, Class: Local, Err: ErrDisconnected, Hint: "open a session with core.Dial"}
	}
	return &Error{Stage: firstStage(commands), Class: Temporary, Err: fmt.Errorf("%w: the session is over: %w", ErrDisconnected, s.conn.over()), Hint: "open a new session"}
}

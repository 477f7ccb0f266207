package mechanisms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/postrider/postrider/core"
)

// Source returns the user name and the password to authenticate with. It is
// asked for each physical connection, and by several sessions at once. Any
// function of this form is one: it may ask a vault, say. An error ends the
// authentication, and is temporary unless it holds a [*core.Error], which says
// what it is itself. It must not hold a secret. The context ends with core.Timeouts.Auth at the latest; it
// is not that of a message, since the session may become another's.
//
// [From] makes a mechanism of a source.
type Source func(ctx context.Context) (user, password string, err error)

// Static returns a source that always has the same credentials.
func Static(user, password string) Source {
	return func(context.Context) (string, string, error) { return user, password, nil }
}

// From returns a mechanism whose credentials come from a source:
//
//	mechanisms.From(mechanisms.File{User: "ann", Path: "/run/secrets/smtp"}.Credentials, mechanisms.Plain)
//
// The source is asked at each Start, and the rest is done by what mechanism
// returns for these credentials. That is kept for as long as the source returns
// the same ones, so that a mechanism that derives keys from the password does so
// once. Before the first Start, for the name and the other properties, mechanism
// is called with empty credentials; it always returns a mechanism of the same
// name.
//
// When the server refuses the credentials for good, the source is asked whether
// it has others by now. If so the mechanism is run again with them: a password
// that was changed while messages are sent costs nothing.
func From(source Source, mechanism func(user, password string) core.Mechanism) core.Mechanism {
	s := &sourced{source: source, mechanism: mechanism}
	if mechanism != nil {
		s.blank = mechanism("", "")
	}
	return s
}

type sourced struct {
	source    Source
	mechanism func(user, password string) core.Mechanism
	blank     core.Mechanism // with empty credentials, for its properties

	mu   sync.Mutex
	made *made // the last one; nil before the first
}

// made is a mechanism and the credentials that it was made with. Both are in
// functions for the reason that plain has.
type made struct {
	mechanism   func() core.Mechanism
	credentials func() (user, password string)
}

// is reports whether the mechanism was made with these credentials.
func (m *made) is(user, password string) bool {
	u, p := m.credentials()
	return u == user && p == password
}

// Name returns the mechanism's name.
func (s *sourced) Name() string {
	if s.blank == nil {
		return "FROM" // a valid name, so that Check comes to say what is wrong
	}
	return s.blank.Name()
}

// String keeps the credentials out of whatever prints the mechanism.
func (s *sourced) String() string { return s.Name() }

// GoString is String, for %#v.
func (s *sourced) GoString() string { return s.Name() }

// KeepsSecret says what the mechanism says.
func (s *sourced) KeepsSecret() bool { return keepsSecret(s.blank) }

// Check implements [core.Checker]. The source is not asked: what it reads may
// come later than the client.
func (s *sourced) Check() error {
	switch {
	case s.source == nil:
		return errors.New("the source given to mechanisms.From is nil")
	case s.mechanism == nil:
		return errors.New("the function given to mechanisms.From is nil")
	case s.blank == nil:
		return errors.New("the function given to mechanisms.From returns nil for empty credentials")
	}
	return nil
}

// CheckPeer says what the mechanism says.
func (s *sourced) CheckPeer(peer *core.Peer) error { return checkPeer(s.blank, peer) }

func (s *sourced) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	if err := s.Check(); err != nil {
		return nil, nil, err
	}
	m, err := s.ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	a, initial, err := m.mechanism().Start(ctx, peer)
	if err != nil || a == nil {
		return nil, nil, err
	}
	return &sourcedRun{run: func() core.Authentication { return a }, of: s, used: m}, initial, nil
}

// ask asks the source and returns the mechanism for what that says.
func (s *sourced) ask(ctx context.Context) (*made, error) {
	user, password, err := s.source(ctx)
	if err != nil {
		if _, ok := errors.AsType[*core.Error](err); !ok {
			err = &core.Error{Stage: core.StageAuth, Class: core.Temporary, Err: fmt.Errorf("%s: no credentials: %w", s.Name(), err)}
		}
		return nil, err
	}
	return s.with(user, password)
}

// with returns the mechanism for these credentials.
func (s *sourced) with(user, password string) (*made, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made != nil && s.made.is(user, password) {
		return s.made, nil
	}
	m := s.mechanism(user, password)
	switch {
	case m == nil:
		return nil, errors.New("the function given to mechanisms.From returned nil")
	case m.Name() != s.blank.Name():
		return nil, fmt.Errorf("the function given to mechanisms.From returned %s after %s: use one for each name", m.Name(), s.blank.Name())
	}
	if err := check(m); err != nil {
		return nil, fmt.Errorf("the credentials of the source: %w", err)
	}
	s.made = &made{func() core.Mechanism { return m }, func() (string, string) { return user, password }}
	return s.made, nil
}

// sourcedRun is one run of what [From] returns.
type sourcedRun struct {
	run  func() core.Authentication // the mechanism's own, which may know the password
	of   *sourced
	used *made
}

func (r *sourcedRun) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	return r.run().Next(ctx, challenge)
}

func (r *sourcedRun) Done(ctx context.Context) error { return r.run().Done(ctx) }

// Refused implements [core.RefusalHandler]: there are other credentials if the
// mechanism says so, or if the source has them by now.
func (r *sourcedRun) Refused(ctx context.Context, refusal *core.Error) core.Mechanism {
	if other := refused(ctx, r.run(), refusal); other != nil {
		return other
	}
	if refusal.Class != core.Permanent {
		return nil
	}
	next, err := r.of.ask(ctx)
	if err != nil || next.is(r.used.credentials()) {
		return nil
	}
	return next.mechanism()
}

// Expires says what the mechanism's own run says.
func (r *sourcedRun) Expires() time.Time {
	return expires(r.run())
}

// Close ends the mechanism's own run.
func (r *sourcedRun) Close() error { return end(r.run()) }

// localError is a refusal on this side, with what to do about it.
func localError(what, hint string) *core.Error {
	return &core.Error{Stage: core.StageAuth, Class: core.Local, Err: errors.New(what), Hint: hint}
}

// What a mechanism that wraps another says in its place.

func keepsSecret(m core.Mechanism) bool {
	k, ok := m.(core.SecretKeeper)
	return ok && k.KeepsSecret()
}

func check(m core.Mechanism) error {
	if c, ok := m.(core.Checker); ok {
		return c.Check()
	}
	return nil
}

func checkPeer(m core.Mechanism, peer *core.Peer) error {
	if c, ok := m.(core.PeerChecker); ok {
		return c.CheckPeer(peer)
	}
	return nil
}

func expires(a core.Authentication) time.Time {
	if e, ok := a.(core.Expirer); ok {
		return e.Expires()
	}
	return time.Time{}
}

func end(a core.Authentication) error {
	if c, ok := a.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func refused(ctx context.Context, a core.Authentication, refusal *core.Error) core.Mechanism {
	if h, ok := a.(core.RefusalHandler); ok {
		return h.Refused(ctx, refusal)
	}
	return nil
}

package mechanismtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/postrider/postrider/core"
)

// tap is a mechanism that stands between another one and a session. It sees what
// passes, and may change it. Its functions are nil for no change. Rounds are
// counted from 1; round 0 is Start, and the one behind the last is Done.
//
// It is for one session at a time.
type tap struct {
	core.Mechanism
	patience time.Duration

	// before is called before each round. Its error is returned in place of what
	// the mechanism would have said, and ends the authentication.
	before func(round int, a core.Authentication) error
	// context returns the context that the mechanism gets.
	context func(ctx context.Context, round int) context.Context
	// challenge returns what the mechanism gets for a challenge. last is the
	// response before.
	challenge func(round int, right, last []byte) []byte
	// late returns a challenge that the mechanism gets in place of Done.
	late func(last []byte) []byte

	runs []*run
}

// run is what a mechanism said in one authentication.
type run struct {
	peer     *core.Peer
	initial  []byte
	rounds   []Round // with the challenges that the mechanism got
	errs     []error // as the mechanism returned them
	believed bool    // Done returned nil
}

// last returns the response that was given last.
func (r *run) last() []byte {
	if len(r.rounds) > 0 {
		return r.rounds[len(r.rounds)-1].Response
	}
	return r.initial
}

func (k *kit) tap(m core.Mechanism) *tap { return &tap{Mechanism: m, patience: k.Patience} }

// misconduct returns the first panic or the first call that did not return.
func (t *tap) misconduct() error {
	for _, r := range t.runs {
		for _, err := range r.errs {
			if m, ok := err.(*misconduct); ok {
				return m
			}
		}
	}
	return nil
}

// KeepsSecret says what the mechanism says.
func (t *tap) KeepsSecret() bool {
	keeper, ok := t.Mechanism.(core.SecretKeeper)
	return ok && keeper.KeepsSecret()
}

// Check says what the mechanism says.
func (t *tap) Check() error {
	if c, ok := t.Mechanism.(core.Checker); ok {
		return c.Check()
	}
	return nil
}

// CheckPeer says what the mechanism says.
func (t *tap) CheckPeer(peer *core.Peer) error {
	if c, ok := t.Mechanism.(core.PeerChecker); ok {
		return c.CheckPeer(peer)
	}
	return nil
}

func (t *tap) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	r := &run{peer: peer}
	t.runs = append(t.runs, r)
	ctx, err := t.enter(ctx, 0, nil)
	if err != nil {
		return nil, nil, err
	}
	a, initial, err := start(ctx, t.patience, t.Mechanism, peer)
	if err != nil {
		r.errs = append(r.errs, err)
		return nil, nil, err
	}
	if a == nil {
		return nil, nil, nil // the session says what is wrong
	}
	r.initial = bytes.Clone(initial)
	return &tapped{a, t, r}, initial, nil
}

// enter does what is to be done before a round.
func (t *tap) enter(ctx context.Context, round int, a core.Authentication) (context.Context, error) {
	if t.before != nil {
		if err := t.before(round, a); err != nil {
			return nil, err
		}
	}
	if t.context != nil {
		ctx = t.context(ctx, round)
	}
	return ctx, nil
}

// tapped is one run of a tap.
type tapped struct {
	core.Authentication
	tap *tap
	run *run
}

func (a *tapped) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	round := len(a.run.rounds) + 1
	ctx, err := a.tap.enter(ctx, round, a.Authentication)
	if err != nil {
		return nil, err
	}
	if f := a.tap.challenge; f != nil {
		challenge = f(round, challenge, a.run.last())
	}
	return a.next(ctx, challenge)
}

func (a *tapped) next(ctx context.Context, challenge []byte) ([]byte, error) {
	response, err := next(ctx, a.tap.patience, a.Authentication, challenge)
	if err != nil {
		a.run.errs = append(a.run.errs, err)
		return nil, err
	}
	a.run.rounds = append(a.run.rounds, Round{bytes.Clone(challenge), bytes.Clone(response)})
	return response, nil
}

func (a *tapped) Done(ctx context.Context) error {
	ctx, err := a.tap.enter(ctx, len(a.run.rounds)+1, a.Authentication)
	if err != nil {
		return err
	}
	if f := a.tap.late; f != nil {
		_, err := a.next(ctx, f(a.run.last()))
		return err
	}
	err = done(ctx, a.tap.patience, a.Authentication)
	if err != nil {
		a.run.errs = append(a.run.errs, err)
	}
	a.run.believed = err == nil
	return err
}

// Expires says what the mechanism's own run says.
func (a *tapped) Expires() time.Time {
	if e, ok := a.Authentication.(core.Expirer); ok {
		return e.Expires()
	}
	return time.Time{}
}

// Close ends the mechanism's own run.
func (a *tapped) Close() error {
	if c, ok := a.Authentication.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Refused says what the mechanism's own run says.
func (a *tapped) Refused(ctx context.Context, refusal *core.Error) core.Mechanism {
	h, ok := a.Authentication.(core.RefusalHandler)
	if !ok {
		return nil
	}
	other, err := guard(a.tap.patience, "Refused", func() (core.Mechanism, error) { return h.Refused(ctx, refusal), nil })
	if err != nil {
		a.run.errs = append(a.run.errs, err)
	}
	switch {
	case other == nil:
		return nil
	case other.Name() != a.tap.Name():
		a.run.errs = append(a.run.errs, &misconduct{fmt.Sprintf("Refused returns %s, which is not the same mechanism", other.Name())})
		return nil
	}
	a.tap.Mechanism = other // the session runs it next
	return a.tap
}

// The calls of a mechanism, each of which may go wrong in any way.

type started struct {
	a       core.Authentication
	initial []byte
}

func start(ctx context.Context, limit time.Duration, m core.Mechanism, peer *core.Peer) (core.Authentication, []byte, error) {
	s, err := guard(limit, "Start", func() (started, error) {
		a, initial, err := m.Start(ctx, peer)
		return started{a, initial}, err
	})
	return s.a, s.initial, err
}

func next(ctx context.Context, limit time.Duration, a core.Authentication, challenge []byte) ([]byte, error) {
	return guard(limit, "Next", func() ([]byte, error) { return a.Next(ctx, challenge) })
}

func done(ctx context.Context, limit time.Duration, a core.Authentication) error {
	_, err := guard(limit, "Done", func() (struct{}, error) { return struct{}{}, a.Done(ctx) })
	return err
}

// misconduct is a panic, a call that does not return, or a result that no call may
// have.
type misconduct struct{ text string }

func (m *misconduct) Error() string { return m.text }

// guard calls f. If that panics or does not return in time, the error is a
// *misconduct.
func guard[T any](limit time.Duration, what string, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	returned := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if v := recover(); v != nil {
				r.err = &misconduct{fmt.Sprintf("%s panics: %v\n%s", what, v, debug.Stack())}
			}
			returned <- r
		}()
		r.value, r.err = f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-returned:
		return r.value, r.err
	case <-timer.C:
		var r result
		return r.value, &misconduct{fmt.Sprintf("%s has not returned after %v", what, limit)}
	}
}

package core

import (
	"errors"
	"fmt"
)

// Breaker is a circuit breaker for one endpoint: it has it rest when sessions
// with it cannot be opened. It is safe for concurrent use.
type Breaker interface {
	// State says how the endpoint is.
	State() BreakerState
	// Allow is asked before a session is opened. The error says why it must not
	// be; otherwise done is called once, with why it could not be opened, or
	// with nil.
	Allow() (done func(err error), err error)
}

// BreakerState is how a [Breaker] finds its endpoint.
type BreakerState uint8

const (
	// BreakerClosed: the endpoint is used.
	BreakerClosed BreakerState = iota
	// BreakerOpen: the endpoint rests, and no session is opened.
	BreakerOpen
	// BreakerHalfOpen: the endpoint has rested, and is to be probed.
	BreakerHalfOpen
)

// String returns "closed", "open" or "half-open".
func (s BreakerState) String() string {
	return [...]string{"closed", "open", "half-open"}[min(s, BreakerHalfOpen)]
}

// ErrResting is that the breaker keeps sessions with the endpoint from being opened.
// Such an error is also of the kind [ErrDisconnected], and temporary.
var ErrResting = errors.New("the endpoint rests after failures")

// newBreaker makes the breaker of an endpoint. There is none if no interceptor
// brings one.
func (p *pipeline) newBreaker(e Endpoint) (b Breaker, err error) {
	if p.breaker == nil {
		return nil, nil
	}
	defer contain("the breaker's function", &err)
	if b = p.breaker(e); b == nil {
		return nil, errors.New("an interceptor's Breaker function returned nil")
	}
	return b, nil
}

// state asks the breaker. The lock must not be held.
func (p *pool) state() (state BreakerState) {
	if p.breaker == nil {
		return BreakerClosed
	}
	defer func() { _ = recover() }() // who panics has no say
	return p.breaker.State()
}

// look keeps what the breaker says, for those who have the lock.
func (p *pool) look() BreakerState {
	state := p.state()
	p.resting.Store(state == BreakerOpen)
	return state
}

// allow asks the breaker for a session. The lock must not be held.
func (p *pool) allow() (done func(error), err error) {
	if p.breaker == nil {
		return func(error) {}, nil
	}
	defer contain("the breaker", &err)
	answered, err := p.breaker.Allow()
	if err != nil {
		if last := p.failure.Load(); last != nil {
			err = fmt.Errorf("%w; the last failure was: %w", err, *last)
		}
		return nil, &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("%w: %w: %s: %w", ErrDisconnected, ErrResting, p.settings.endpoint.shown(), err)}
	}
	return func(err error) {
		defer func() { _ = recover() }() // the session is what it is
		if !isServers(err) {
			err = nil
		}
		if err != nil {
			p.failure.Store(&err)
		}
		answered(err)
		p.look()
	}, nil
}

// isServers reports whether a session was not opened because of the server, and
// not because of the credentials, or because there are none to be had.
func isServers(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok && e.Stage == StageAuth && e.Reply.Code == 0 {
		return errors.Is(err, ErrDisconnected) || errors.Is(err, ErrProtocol) || errors.Is(err, ErrNotSupported)
	}
	return err != nil && !errors.Is(err, ErrCredentials)
}

package interceptortest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"weak"

	"github.com/postrider/postrider/core"
)

// probe stands on both sides of an interceptor, within it, and compares what goes
// in with what comes out. So it sees what the interceptor does before the core
// does.
type probe struct {
	name string // of the interceptor

	mu    sync.Mutex
	calls map[any]*call // under way, by the value that is handed down
	found map[string][]string
	kept  []kept
}

// call is one call of the interceptor.
type call struct {
	begun, running int   // calls of next, and those that have not returned
	err            error // what the last one has returned
	left           any   // what it has left in the value
}

// kept looks for a value that should be gone.
type kept struct {
	kind  string
	alive func() bool
}

// token is what the context has that the interceptor gets.
type token struct{}

// side is what is looked at in the values of one kind.
type side[T any] struct {
	kind    string
	take    func(v *T) any                                  // what next has left in it
	compare func(left any, v *T) error                      // with what the interceptor has
	look    func(ctx context.Context, v *T) (string, error) // at what next gets: the rule, and what breaks it
	many    bool                                            // next may be called again
}

// around returns the interceptor between the two sides of the probe.
func (p *probe) around(i core.Interceptor) core.Interceptor {
	p.name = i.Name
	i.Delivery = between(p, side[core.Delivery]{kind: "delivery", many: true, take: takeReceipt, compare: compareReceipt}, i.Delivery)
	i.Attempt = between(p, side[core.Attempt]{kind: "attempt", take: takeResults, compare: compareResults}, i.Attempt)
	i.Content = between(p, side[core.Content]{kind: "content", look: lookAtBody}, i.Content)
	i.Connect = between(p, side[core.Connect]{kind: "connect"}, i.Connect)
	i.Exchange = between(p, side[core.Exchange]{kind: "exchange", take: takeReplies, compare: compareReplies}, i.Exchange)
	return p.watchPool(p.watchBreaker(i))
}

// between returns the function of one kind between the two sides, or nil if the
// interceptor has none.
func between[T any, F ~func(context.Context, *T) error](p *probe, s side[T], wrap func(F) F) func(F) F {
	if wrap == nil {
		return nil
	}
	return func(next F) F {
		f := wrap(inside(p, s, next))
		if f == nil {
			return nil // the core says what is wrong
		}
		return outside(p, s, f)
	}
}

// note keeps what was found, once.
func (p *probe) note(rule, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if text := fmt.Sprintf(format, args...); !slices.Contains(p.found[rule], text) {
		p.found[rule] = append(p.found[rule], text)
	}
}

func (p *probe) has(rule string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.found[rule]) > 0
}

// outside calls the function that is tested.
func outside[T any, F ~func(context.Context, *T) error](p *probe, s side[T], tested F) F {
	return func(ctx context.Context, v *T) error {
		c := &call{}
		ref := weak.Make(v)
		p.mu.Lock()
		p.calls[v] = c
		p.kept = append(p.kept, kept{s.kind, func() bool { return ref.Value() != nil }})
		p.mu.Unlock()

		err := p.test(s.kind, func() error { return tested(context.WithValue(ctx, token{}, s.kind), v) }, func() {
			delete(p.calls, v)
		})

		p.mu.Lock()
		seen := *c
		p.mu.Unlock()
		switch {
		case seen.running > 0:
			p.note(ruleInTime, "the %s function has returned while next was running", s.kind)
		case seen.begun == 0 && err == nil:
			p.note(ruleCallsNext, "the %s function has returned nil without calling next", s.kind)
		case seen.err != nil && err == nil:
			p.note(ruleErrors, "the %s function has returned nil, and next %q", s.kind, seen.err)
			return seen.err // a session that was not opened is none
		case seen.begun > 0 && s.compare != nil:
			if changed := s.compare(seen.left, v); changed != nil {
				p.note(ruleReplies, "the %s function: %v", s.kind, changed)
			}
		}
		return err
	}
}

// test calls the function that is tested, notes a panic, and goes on with it.
// When the function has returned, in whatever way, it calls end with the lock.
func (p *probe) test(kind string, tested func() error, end func()) error {
	defer func() {
		p.mu.Lock()
		end()
		p.mu.Unlock()
		if v := recover(); v != nil {
			p.note(ruleNoPanic, "panic in interceptor %q (%s): %v\n%s", p.name, kind, v, debug.Stack())
			panic(v)
		}
	}()
	return tested()
}

// inside is what the function that is tested calls next.
func inside[T any, F ~func(context.Context, *T) error](p *probe, s side[T], next F) F {
	return func(ctx context.Context, v *T) error {
		p.mu.Lock()
		c := p.calls[v]
		again, together := false, false
		if c != nil {
			again, together = c.begun > 0, c.running > 0
			c.begun++
			c.running++
		}
		p.mu.Unlock()
		switch {
		case c == nil:
			p.note(ruleInTime, "the %s function has called next after it had returned, or with another value than it got", s.kind)
			return next(ctx, v)
		case together:
			p.note(ruleOnce, "the %s function has called next while next was running", s.kind)
		case again && !s.many:
			p.note(ruleOnce, "the %s function has called next twice", s.kind)
		}
		if ctx.Value(token{}) != s.kind {
			p.note(ruleContext, "the %s function has given next a context without the values of its own", s.kind)
		}
		if s.look != nil {
			if rule, err := s.look(ctx, v); err != nil {
				p.note(rule, "the %s function: %v", s.kind, err)
			}
		}
		err := next(ctx, v)
		p.mu.Lock()
		defer p.mu.Unlock()
		c.running--
		c.err = err
		if s.take != nil && c.running == 0 {
			c.left = s.take(v)
		}
		return err
	}
}

// watchPool has panics in the Pool function noticed, of which the core tells
// nobody.
func (p *probe) watchPool(i core.Interceptor) core.Interceptor {
	if tell := i.Pool; tell != nil {
		i.Pool = func(e core.PoolEvent) {
			defer p.catch("Pool")
			tell(e)
		}
	}
	return i
}

// catch notes a panic, and goes on with it. It is to be deferred.
func (p *probe) catch(where string) {
	if v := recover(); v != nil {
		p.note(ruleNoPanic, "panic in the %s function: %v", where, v)
		panic(v)
	}
}

// watchBreaker is watchPool for the breakers.
func (p *probe) watchBreaker(i core.Interceptor) core.Interceptor {
	if breaker := i.Breaker; breaker != nil {
		i.Breaker = func(e core.Endpoint) core.Breaker {
			defer p.catch("Breaker")
			b := breaker(e)
			if b == nil {
				return nil
			}
			return watchedBreaker{p, b}
		}
	}
	return i
}

type watchedBreaker struct {
	p *probe
	core.Breaker
}

func (b watchedBreaker) State() core.BreakerState {
	defer b.p.catch("Breaker's State")
	state := b.Breaker.State()
	if state > core.BreakerHalfOpen {
		b.p.note(ruleCallsNext, "the Breaker's State is %d, which does not exist", state)
	}
	return state
}

func (b watchedBreaker) Allow() (func(error), error) {
	defer b.p.catch("Breaker's Allow")
	done, err := b.Breaker.Allow()
	if err != nil {
		return nil, err
	}
	if done == nil {
		b.p.note(ruleCallsNext, "the Breaker's Allow has returned neither a function nor an error")
		return nil, errors.New("interceptortest: Allow has returned nil")
	}
	return func(err error) {
		defer b.p.catch("Breaker's done")
		done(err)
	}, nil
}

package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// The five kinds of work that an [Interceptor] can wrap. Each function does its
// work and returns why it failed, or nil.
type (
	// DeliverFunc does one delivery: see [Delivery].
	DeliverFunc func(ctx context.Context, d *Delivery) error
	// AttemptFunc does one transaction on one session: see [Attempt].
	AttemptFunc func(ctx context.Context, a *Attempt) error
	// ContentFunc settles the content of an attempt: see [Content].
	ContentFunc func(ctx context.Context, c *Content) error
	// ConnectFunc opens one session: see [Connect].
	ConnectFunc func(ctx context.Context, c *Connect) error
	// ExchangeFunc writes commands and reads their replies: see [Exchange].
	ExchangeFunc func(ctx context.Context, x *Exchange) error
)

// Interceptor wraps any of the five kinds of work. Each field takes the next
// function in the chain and returns the one that runs in its place; it is
// called once, when the client is made, and what it returns is called
// concurrently. A field that is nil leaves that work alone.
//
// An interceptor returns after its call of next has returned. If it does not, what
// it left running is waited for, and interrupted unless it is a whole delivery.
// To bound the time of next, give it a context with a deadline.
//
// In [Config] the order of interceptors is the slice's: the first is the
// outermost. A panic in an interceptor becomes a [*PanicError] that names it.
type Interceptor struct {
	// Name identifies the interceptor in errors and in [Client.Pipeline]. It is
	// required, and no two interceptors of a client share one.
	Name string

	// Delivery wraps one [Client.Send] of a message that passes its Check:
	// admission, rate limits, retry. It may call next any number of times, one
	// after the other: each call tries the recipients that have no final
	// outcome yet, and returns why the first of them was not accepted. The
	// error of Send itself is derived from the outcomes, not from what the
	// chain returns.
	Delivery func(next DeliverFunc) DeliverFunc

	// Attempt wraps one transaction on one session, inside any retry. It calls
	// next at most once. A session that turns out dead is replaced within next:
	// what must hold for the one that is used (that it has TLS, say) is checked
	// in Exchange, when MAIL comes.
	Attempt func(next AttemptFunc) AttemptFunc

	// Content changes the content of an attempt and then calls next, at most
	// once. The whole chain has returned before the first octet of the
	// transaction is written, so a failure here costs the server nothing.
	Content func(next ContentFunc) ContentFunc

	// Connect wraps the opening of one session: dial, greeting, EHLO, TLS,
	// AUTH. It calls next at most once.
	Connect func(next ConnectFunc) ConnectFunc

	// Exchange wraps commands that are written together, and their replies. It
	// calls next at most once. It may change parameters; it may not add, drop
	// or reorder commands.
	Exchange func(next ExchangeFunc) ExchangeFunc

	// Pool is told what happens to the client's sessions, for each endpoint one
	// event at a time and in order. It runs in whatever goroutine made it happen, and must not
	// block. No delivery fails by a panic in it, and nobody hears of that.
	Pool func(PoolEvent)

	// Breaker returns a circuit breaker for an endpoint of the client. It is
	// called once for each when the client is made. At most one interceptor of a
	// client has it.
	Breaker func(Endpoint) Breaker

	// Signs says that Content signs what it is given, so that no later
	// interceptor may change it: one that has Content and does not sign itself
	// is refused behind it when the client is made.
	Signs bool
}

// pipeline is the five chains, built once.
type pipeline struct {
	deliver  DeliverFunc
	attempt  AttemptFunc
	content  ContentFunc
	connect  ConnectFunc
	exchange ExchangeFunc

	// Whether anybody wraps these: without, what they work on is not seen by
	// strangers and can be reused.
	wrapsAttempt, wrapsContent, wrapsExchange bool

	pool    []func(PoolEvent)
	breaker func(Endpoint) Breaker // or nil
	names   []string
}

// newPipeline checks the interceptors and builds the chains.
func newPipeline(interceptors []Interceptor) (*pipeline, error) {
	if err := checkInterceptors(interceptors); err != nil {
		return nil, err
	}
	base := pipeline{deliver: deliver, attempt: sendAttempt, content: settleContent, connect: openSession, exchange: sendExchange}
	p := base
	var errs [5]error
	p.deliver, errs[0] = chain(base.deliver, interceptors, "delivery", func(i Interceptor) func(DeliverFunc) DeliverFunc { return i.Delivery })
	p.attempt, errs[1] = chain(base.attempt, interceptors, "attempt", func(i Interceptor) func(AttemptFunc) AttemptFunc { return i.Attempt })
	p.content, errs[2] = chain(base.content, interceptors, "content", noteBody)
	p.connect, errs[3] = chain(base.connect, interceptors, "connect", func(i Interceptor) func(ConnectFunc) ConnectFunc { return i.Connect })
	p.exchange, errs[4] = chain(base.exchange, interceptors, "exchange", func(i Interceptor) func(ExchangeFunc) ExchangeFunc { return i.Exchange })
	for _, i := range interceptors {
		p.names = append(p.names, i.Name)
		if i.Pool != nil {
			p.pool = append(p.pool, func(e PoolEvent) {
				defer func() { _ = recover() }() // there is nobody to tell, and no delivery fails for it
				i.Pool(e)
			})
		}
		if i.Breaker != nil {
			p.breaker = i.Breaker
		}
		p.wrapsAttempt = p.wrapsAttempt || i.Attempt != nil
		p.wrapsContent = p.wrapsContent || i.Content != nil
		p.wrapsExchange = p.wrapsExchange || i.Exchange != nil
	}
	return &p, errors.Join(errs[:]...)
}

func checkInterceptors(interceptors []Interceptor) error {
	seen := make(map[string]bool, len(interceptors))
	signer, breaker := "", ""
	for n, i := range interceptors {
		switch {
		case i.Name == "":
			return fmt.Errorf("interceptor %d has no Name: give it one, it stands in errors and traces", n)
		case printable(i.Name) != i.Name:
			return fmt.Errorf("interceptor %d has the name %q: use printable ASCII, it stands in errors and traces", n, i.Name)
		case seen[i.Name]:
			return fmt.Errorf("two interceptors are named %q: give each its own name", i.Name)
		case i.Delivery == nil && i.Attempt == nil && i.Content == nil && i.Connect == nil && i.Exchange == nil && i.Pool == nil && i.Breaker == nil:
			return fmt.Errorf("interceptor %q has no function: set Delivery, Attempt, Content, Connect, Exchange, Pool or Breaker", i.Name)
		case breaker != "" && i.Breaker != nil:
			return fmt.Errorf("interceptors %q and %q both have a Breaker: a client has one for each endpoint", breaker, i.Name)
		case i.Signs && i.Content == nil:
			return fmt.Errorf("interceptor %q has Signs set and no Content function: only content can be signed", i.Name)
		case signer != "" && i.Content != nil && !i.Signs:
			return fmt.Errorf("interceptor %q changes content after %q has signed it: put it before %q", i.Name, signer, signer)
		}
		seen[i.Name] = true
		if i.Breaker != nil {
			breaker = i.Name
		}
		if i.Signs {
			signer = i.Name
		}
	}
	return nil
}

// chain wraps base in the functions that pick finds, the first outermost.
func chain[V interface{ calls() *once }, F ~func(context.Context, V) error](base F, interceptors []Interceptor, kind string, pick func(Interceptor) func(F) F) (F, error) {
	next := base
	for n := len(interceptors) - 1; n >= 0; n-- {
		wrap := pick(interceptors[n])
		if wrap == nil {
			continue
		}
		where, inner := fmt.Sprintf("interceptor %q (%s)", interceptors[n].Name, kind), next
		f := wrap(func(ctx context.Context, v V) error {
			if err := v.calls().pass(n, where); err != nil {
				return err
			}
			return inner(ctx, v)
		})
		if f == nil {
			return nil, fmt.Errorf("interceptor %q returned nil for its %s function: return next to leave the work alone", interceptors[n].Name, kind)
		}
		next = func(ctx context.Context, v V) (err error) {
			defer contain(where, &err)
			v.calls().enter(n)
			return v.calls().leave(n, &where, f(ctx, v))
		}
	}
	return next, nil
}

// How often interceptors call next, for the chains.

func (d *Delivery) calls() *once { return &d.once }
func (a *Attempt) calls() *once  { return &a.once }
func (c *Content) calls() *once  { return &c.once }
func (c *Connect) calls() *once  { return &c.once }
func (x *Exchange) calls() *once { return &x.once }

// contain turns a panic into an error that names where it happened. It is to be
// deferred.
func contain(where string, err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Where: where, Value: v, Stack: debug.Stack()}
	}
}

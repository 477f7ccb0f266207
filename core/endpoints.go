package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// EndpointPolicy says which of several endpoints a message is given to first.
// Those that follow are for when no session with it can be opened.
type EndpointPolicy uint8

const (
	// FailOver: the first, as long as sessions with it can be opened.
	FailOver EndpointPolicy = iota
	// RoundRobin: each in turn.
	RoundRobin
	// LeastLoaded: the one with the fewest messages under way and waiting. Of
	// those with equally many, each in turn.
	LeastLoaded
)

// String returns "fail-over", "round-robin" or "least-loaded".
func (p EndpointPolicy) String() string {
	return [...]string{"fail-over", "round-robin", "least-loaded"}[min(p, LeastLoaded)]
}

// endpoints is the servers of a client, any of which takes any message. Each has
// a pool of its own.
type endpoints struct {
	pools  []*pool
	policy EndpointPolicy
	turns  atomic.Uint32
}

func newEndpoints(list []*settings, p *pipeline) (*endpoints, error) {
	e := &endpoints{policy: list[0].EndpointPolicy}
	for _, settings := range list {
		breaker, err := p.newBreaker(settings.endpoint)
		if err != nil {
			return nil, err
		}
		e.pools = append(e.pools, newPool(settings, p, breaker))
	}
	return e, nil
}

// get returns a session with one of the endpoints: see [pool.get]. Shunned is
// the one on which a session has just broken, or nil.
func (e *endpoints) get(ctx context.Context, shunned *pool) (s *Session, kept bool, err error) {
	if len(e.pools) == 1 {
		return e.pools[0].get(ctx)
	}
	return e.try(ctx, e.order(shunned), nil)
}

// elsewhere returns a session with an endpoint other than the one where none
// could be opened because of err.
func (e *endpoints) elsewhere(ctx context.Context, failed *pool, err error) (*Session, bool, error) {
	if len(e.pools) == 1 || !movesOn(ctx, err) {
		return nil, false, err
	}
	others := slices.DeleteFunc(e.order(nil), func(p *pool) bool { return p == failed })
	return e.try(ctx, others, []error{fmt.Errorf("%s: %w", failed.settings.endpoint.shown(), err)})
}

func (e *endpoints) try(ctx context.Context, pools []*pool, errs []error) (*Session, bool, error) {
	for i, p := range pools {
		part, cancel := p.portion(ctx, len(pools)-i)
		s, kept, err := p.get(part)
		cancel()
		if err == nil || !movesOn(ctx, err) {
			return s, kept, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.settings.endpoint.shown(), err))
	}
	return nil, false, everywhere(errs, len(e.pools))
}

// portion returns the context for waiting here, when so many endpoints are left to
// try. With an endpoint of which nobody knows yet that it answers, a message does
// not spend all the time that it has.
func (p *pool) portion(ctx context.Context, left int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	p.mu.Lock()
	works := len(p.live) > 0
	p.mu.Unlock()
	if !ok || works || left == 1 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
}

// movesOn reports whether a session that could not be opened is a reason to try
// another endpoint. A password that was refused is not shown around.
func movesOn(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrCredentials)
}

// everywhere is the error when none of so many endpoints has a session to give.
// It is for good only if all of them have said so: those that were not tried rest.
func everywhere(errs []error, endpoints int) error {
	if endpoints == 1 {
		return errs[0]
	}
	e := &Error{Stage: StageConnect, Class: ClassOf(errs[0])}
	if rest := endpoints - len(errs); rest > 0 {
		e.Class = Temporary
		errs = append(errs, fmt.Errorf("%d more: %w", rest, ErrResting))
	}
	for _, err := range errs {
		if ClassOf(err) == Temporary {
			e.Class = Temporary
		}
	}
	e.Err = fmt.Errorf("none of %d endpoints: %w", endpoints, errors.Join(errs...))
	return e
}

// order returns the endpoints in the order in which a message tries them: those
// in use as the policy has it, then the shunned one and those that are slow, then
// those that are to be probed. Those that rest are left out, unless all do.
func (e *endpoints) order(shunned *pool) []*pool {
	list := slices.Clone(e.pools)
	if e.policy != FailOver {
		n := int((e.turns.Add(1) - 1) % uint32(len(list)))
		list = append(list[n:], list[:n]...)
	}
	if e.policy == LeastLoaded {
		loads := make(map[*pool]int, len(list))
		for _, p := range list {
			loads[p] = p.load()
		}
		slices.SortStableFunc(list, func(a, b *pool) int { return loads[a] - loads[b] })
	}
	var last, probed, resting []*pool
	use := list[:0]
	for _, p := range list {
		switch state := p.look(); {
		case state == BreakerClosed && p != shunned && !p.slow():
			use = append(use, p)
		case state == BreakerClosed:
			last = append(last, p)
		case state == BreakerHalfOpen:
			probed = append(probed, p)
		default:
			resting = append(resting, p)
		}
	}
	use = append(use, last...)
	if len(use) > 0 {
		// A message that has somewhere to go does not wait for a probe.
		for _, p := range probed {
			p.probe()
		}
	}
	if use = append(use, probed...); len(use) > 0 {
		return use
	}
	return resting
}

// slowOpening is how long a session may take to be opened before messages that
// can go elsewhere do.
const slowOpening = time.Second

// slow reports whether there is no session, and one has been being opened for a
// while.
func (p *pool) slow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.live) == 0 && slices.ContainsFunc(p.dials, func(d *dial) bool { return time.Since(d.began) >= slowOpening })
}

// load is how many messages an endpoint has under way and waiting.
func (p *pool) load() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.waiting)
	for s := range p.live {
		n += s.users
	}
	return n
}

// probe has a session opened that nobody waits for.
func (p *pool) probe() {
	p.mu.Lock()
	defer p.unlock()
	if !p.closed && len(p.dials) == 0 && p.open < p.settings.MaxSessions {
		p.dial(context.Background(), nil)
	}
}

// isClosed reports whether new work is refused.
func (e *endpoints) isClosed() bool { return e.pools[0].isClosed() }

// close closes all pools, which takes as long as the slowest.
func (e *endpoints) close() {
	var all sync.WaitGroup
	for _, p := range e.pools {
		all.Go(p.close)
	}
	all.Wait()
}

func (e *endpoints) shutdown(ctx context.Context) error {
	var all sync.WaitGroup
	errs := make([]error, len(e.pools))
	for i, p := range e.pools {
		all.Go(func() { errs[i] = p.shutdown(ctx) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

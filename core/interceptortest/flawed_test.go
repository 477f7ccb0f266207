package interceptortest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
)

// findings returns what is found of a rule. Those about conduct are looked at
// before, as in Run.
func findings(t testing.TB, config Config, name string) string {
	if err := config.check(); err != nil {
		t.Fatal(err)
	}
	var found []string
	r := newRun(config)
	for _, rule := range r.rules() {
		for _, c := range rule.cases {
			if r.skips(rule) || !rule.conduct && rule.name != name {
				continue
			}
			list := r.examine(t, c)
			if rule.name == name {
				for _, f := range list {
					found = append(found, c.name+": "+f)
				}
			}
		}
	}
	return strings.Join(found, "\n")
}

// flaw is an interceptor that breaks a rule.
type flaw struct {
	does string
	rule string
	says string // in what is found
	// i is the interceptor. What blocks in it ends with the context.
	i func(ctx context.Context) core.Interceptor
	// patience is the kit's: short where it is to run out.
	patience time.Duration
	config   Config
}

func deliveries(f func(context.Context, core.DeliverFunc, *core.Delivery) error) core.Interceptor {
	return core.Interceptor{Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error { return f(ctx, next, d) }
	}}
}

func attempts(f func(context.Context, core.AttemptFunc, *core.Attempt) error) core.Interceptor {
	return core.Interceptor{Attempt: func(next core.AttemptFunc) core.AttemptFunc {
		return func(ctx context.Context, a *core.Attempt) error { return f(ctx, next, a) }
	}}
}

func bodiesBy(f func(context.Context, core.Body) (core.Body, error)) core.Interceptor {
	return core.Interceptor{Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) (err error) {
			if c.Body, err = f(ctx, c.Body); err != nil {
				return err
			}
			return next(ctx, c)
		}
	}}
}

func connects(f func(context.Context, core.ConnectFunc, *core.Connect) error) core.Interceptor {
	return core.Interceptor{Connect: func(next core.ConnectFunc) core.ConnectFunc {
		return func(ctx context.Context, c *core.Connect) error { return f(ctx, next, c) }
	}}
}

func exchanges(f func(context.Context, core.ExchangeFunc, *core.Exchange) error) core.Interceptor {
	return core.Interceptor{Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
		return func(ctx context.Context, x *core.Exchange) error { return f(ctx, next, x) }
	}}
}

// doing is what an interceptor of any kind does with next.
type doing func(ctx context.Context, next func(context.Context) error) error

// each returns an interceptor for each kind that does the same.
func each(do doing) map[string]core.Interceptor {
	return map[string]core.Interceptor{
		"delivery": deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
			return do(ctx, func(ctx context.Context) error { return next(ctx, d) })
		}),
		"attempt": attempts(func(ctx context.Context, next core.AttemptFunc, a *core.Attempt) error {
			return do(ctx, func(ctx context.Context) error { return next(ctx, a) })
		}),
		"content": {Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error {
				return do(ctx, func(ctx context.Context) error { return next(ctx, c) })
			}
		}},
		"connect": connects(func(ctx context.Context, next core.ConnectFunc, c *core.Connect) error {
			return do(ctx, func(ctx context.Context) error { return next(ctx, c) })
		}),
		"exchange": exchanges(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			return do(ctx, func(ctx context.Context) error { return next(ctx, x) })
		}),
	}
}

// flawsOfAnyKind are what an interceptor of each kind can do.
func flawsOfAnyKind() (list []flaw) {
	add := func(does, rule, says string, patience time.Duration, do func(rest context.Context) doing) {
		for _, kind := range []string{"delivery", "attempt", "content", "connect", "exchange"} {
			list = append(list, flaw{does: does + ", in a " + kind, rule: rule, says: strings.ReplaceAll(says, "KIND", kind), patience: patience,
				i: func(rest context.Context) core.Interceptor {
					return each(do(rest))[kind]
				}})
		}
	}
	add("panics", ruleNoPanic, `panic in interceptor "flawed" (KIND)`, 0, func(context.Context) doing {
		return func(context.Context, func(context.Context) error) error { panic("no") }
	})
	add("returns without next", ruleCallsNext, "the KIND function has returned nil without calling next", 0, func(context.Context) doing {
		return func(context.Context, func(context.Context) error) error { return nil }
	})
	add("calls next after its return", ruleInTime, "the KIND function has called next after it had returned", 0, func(context.Context) doing {
		var mu sync.Mutex
		late := func() {}
		return func(ctx context.Context, next func(context.Context) error) error {
			mu.Lock()
			defer mu.Unlock()
			late() // of the call before this one
			late = func() { _ = next(ctx) }
			return errors.New("not now")
		}
	})
	add("swallows the error of next", ruleErrors, "the KIND function has returned nil, and next", 0, func(context.Context) doing {
		return func(ctx context.Context, next func(context.Context) error) error { _ = next(ctx); return nil }
	})
	add("takes away the context's values", ruleContext, "the KIND function has given next a context without", 0, func(context.Context) doing {
		return func(ctx context.Context, next func(context.Context) error) error { return next(valueless{ctx}) }
	})
	add("leaves a goroutine", ruleLeaves, "interceptortest.flawsOfAnyKind", time.Second, func(rest context.Context) doing {
		return func(ctx context.Context, next func(context.Context) error) error {
			go func() { <-rest.Done() }()
			return next(ctx)
		}
	})
	add("blocks for ever", ruleReturns, "has not returned after", 200*time.Millisecond, func(rest context.Context) doing {
		return func(ctx context.Context, next func(context.Context) error) error { <-rest.Done(); return next(ctx) }
	})
	return list
}

// valueless is a context that ends with another one and has nothing else of it.
type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

// flawsOfOneKind are the others.
func flawsOfOneKind() []flaw {
	still := func(i core.Interceptor) func(context.Context) core.Interceptor {
		return func(context.Context) core.Interceptor { return i }
	}
	return []flaw{
		{does: "calls next twice in an attempt", rule: ruleOnce, says: "the attempt function has called next twice",
			i: still(attempts(func(ctx context.Context, next core.AttemptFunc, a *core.Attempt) error {
				return errors.Join(next(ctx, a), next(ctx, a))
			}))},
		{does: "calls next twice in an exchange", rule: ruleOnce, says: "the exchange function has called next twice",
			i: still(exchanges(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
				return errors.Join(next(ctx, x), next(ctx, x))
			}))},
		{does: "calls next of a delivery twice at the same time", rule: ruleOnce, says: "the delivery function has called next while next was running",
			i: still(deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
				second := make(chan error)
				go func() { second <- next(ctx, d) }()
				return errors.Join(next(ctx, d), <-second)
			}))},
		{does: "returns before next has", rule: ruleInTime, says: "the delivery function has returned while next was running", i: still(hasty())},
		{does: "hides the replies", rule: ruleReplies, says: "the exchange function: the replies were",
			i: still(exchanges(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
				err := next(ctx, x)
				x.Replies = nil
				return err
			}))},
		{does: "changes a refusal to a success", rule: "what the server says of a message stands", says: `refused at RCPT: with PIPELINING and CHUNKING: the outcome is "accepted 551"`,
			i: still(attempts(func(ctx context.Context, next core.AttemptFunc, a *core.Attempt) error {
				_ = next(ctx, a)
				for _, i := range a.Recipients() {
					a.Results()[i].Outcome = core.Accepted
				}
				return nil
			}))},
		{does: "makes recipients share an outcome", rule: "each recipient has an outcome of its own", says: "the outcome is",
			i: still(attempts(func(ctx context.Context, next core.AttemptFunc, a *core.Attempt) error {
				err := next(ctx, a)
				for i := range a.Results() {
					a.Results()[i] = a.Results()[0]
				}
				return err
			}))},
		{does: "takes doubt for a deferral", rule: "a lost connection loses no outcome", says: `the outcome is "deferred", and is to be "unknown"`,
			i: still(deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
				err := next(ctx, d)
				for i := range d.Receipt().Recipients {
					if r := &d.Receipt().Recipients[i]; r.Outcome == core.Unknown {
						r.Outcome = core.Deferred
					}
				}
				return err
			}))},
		{does: "tries again without saying so", rule: "what the server says of a message stands", says: `the outcome is "accepted 250", and is to be "deferred 451"`,
			i: still(deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
				if err := next(ctx, d); core.ClassOf(err) != core.Temporary {
					return err
				}
				return next(ctx, d)
			}))},
		{does: "looks at the peer of a session that was not opened", rule: "a server that is not reached is no surprise", says: "nil pointer dereference",
			i: still(connects(func(ctx context.Context, next core.ConnectFunc, c *core.Connect) error {
				err := next(ctx, c)
				_ = c.Peer().Addr.String()
				return err
			}))},
		{does: "looks at the first reply where there is none", rule: ruleNoPanic, says: "index out of range",
			i: still(exchanges(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
				err := next(ctx, x)
				_ = x.Replies[0]
				return err
			}))},
		{does: "panics in Pool", rule: ruleNoPanic, says: "panic in the Pool function: no",
			i: still(core.Interceptor{Pool: func(core.PoolEvent) { panic("no") }})},
		{does: "panics in a breaker", rule: ruleNoPanic, says: "panic in the Breaker's Allow function",
			i: still(core.Interceptor{Breaker: func(core.Endpoint) core.Breaker { return flawedBreaker{} }})},
		{does: "returns no breaker", rule: "messages arrive as they should", says: "no client can be made",
			i: still(core.Interceptor{Breaker: func(core.Endpoint) core.Breaker { return nil }})},
		{does: "serves one client only", rule: "one value serves two clients and many goroutines", says: "no client can be made",
			i: func(context.Context) core.Interceptor {
				used := false
				return core.Interceptor{Delivery: func(next core.DeliverFunc) core.DeliverFunc {
					if used {
						return nil
					}
					used = true
					return next
				}}
			}},
		{does: "holds a lock while next runs", rule: "no message waits for another", says: "a message was held back for", patience: 2 * time.Second,
			i: func(context.Context) core.Interceptor {
				var mu sync.Mutex
				return deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
					mu.Lock()
					defer mu.Unlock()
					return next(ctx, d)
				})
			}},
		{does: "keeps its lock when next fails", rule: ruleReturns, says: "Send has not returned", patience: 200 * time.Millisecond,
			i: func(rest context.Context) core.Interceptor {
				lock := make(chan struct{}, 1)
				return deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
					select {
					case lock <- struct{}{}:
					case <-rest.Done():
						return rest.Err()
					}
					if err := next(ctx, d); err != nil {
						return err
					}
					<-lock
					return nil
				})
			}},
		{does: "does not let the context's end through", rule: "a context that ends ends the delivery", says: "Send has not returned", patience: time.Second,
			i: still(deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
				return next(context.WithoutCancel(ctx), d)
			}))},
		{does: "waits for a client that was shut down", rule: "a client can be shut down while messages are under way", says: "Send has not returned", patience: time.Second,
			i: func(rest context.Context) core.Interceptor {
				return deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
					err := next(ctx, d)
					if errors.Is(err, core.ErrClosed) {
						<-rest.Done()
					}
					return err
				})
			}},
	}
}

// hasty returns from a delivery when it has come to an attempt.
func hasty() core.Interceptor {
	type key struct{}
	i := deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error {
		attempted, over := make(chan struct{}), make(chan error, 1)
		go func() { over <- next(context.WithValue(ctx, key{}, sync.OnceFunc(func() { close(attempted) })), d) }()
		select {
		case err := <-over:
			return err
		case <-attempted:
			return nil
		}
	})
	i.Attempt = attempts(func(ctx context.Context, next core.AttemptFunc, a *core.Attempt) error {
		ctx.Value(key{}).(func())()
		return next(ctx, a)
	}).Attempt
	return i
}

type flawedBreaker struct{}

func (flawedBreaker) State() core.BreakerState    { return core.BreakerClosed }
func (flawedBreaker) Allow() (func(error), error) { panic("no") }

func TestRun_reportsEachFlawByTheRuleThatItBreaks(t *testing.T) {
	for _, list := range [][]flaw{flawsOfAnyKind(), flawsOfOneKind(), flawsOfContent(), flawsOfMemory()} {
		for _, f := range list {
			t.Run(f.does, func(t *testing.T) {
				rest, cancel := context.WithCancel(context.Background())
				defer cancel()
				f.config.Patience = f.patience
				f.config.New = func(testing.TB) core.Interceptor {
					i := f.i(rest)
					i.Name = "flawed"
					return i
				}
				if found := findings(t, f.config, f.rule); !strings.Contains(found, f.says) {
					t.Errorf("%q does not say %q, but: %.3000s", f.rule, f.says, found)
				}
			})
		}
	}
}

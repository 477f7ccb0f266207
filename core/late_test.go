package core_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// kinds are interceptors that do with next what a test says, one for each kind
// of work that takes time.
func kinds(do func(next func() error) error) map[string]core.Interceptor {
	return map[string]core.Interceptor{
		"delivery": {Name: "late", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error { return do(func() error { return next(ctx, d) }) }
		}},
		"attempt": {Name: "late", Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error { return do(func() error { return next(ctx, a) }) }
		}},
		"connect": {Name: "late", Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error { return do(func() error { return next(ctx, c) }) }
		}},
		"exchange": {Name: "late", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
			return func(ctx context.Context, x *core.Exchange) error { return do(func() error { return next(ctx, x) }) }
		}},
	}
}

func TestInterceptors_nextAfterReturnIsRefused(t *testing.T) {
	for kind := range kinds(nil) {
		t.Run(kind, func(t *testing.T) {
			var late []func() error
			i := kinds(func(next func() error) error {
				late = append(late, next)
				return errors.New("not now")
			})[kind]
			dialogue := map[string]string{"attempt": pipelining + bye, "exchange": "IGNORE"}[kind]
			c := newClient(t, dialogue, smtptest.Options{}, with(i))
			receipt, err := c.Send(t.Context(), message("b@example.com"))
			if got := outcomes(receipt); got != "refused" || err == nil {
				t.Error(got, err)
			}
			for _, next := range late {
				if err := next(); !errors.Is(err, core.ErrNextLate) {
					t.Errorf("error %v, want ErrNextLate", err)
				}
			}
			if got := outcomes(receipt); got != "refused" {
				t.Errorf("the receipt has changed to %s", got)
			}
		})
	}
}

// What an interceptor leaves running when it returns is interrupted and waited
// for: nobody is told "refused" of a message that is still on its way.
func TestInterceptors_nothingIsLeftRunning(t *testing.T) {
	for kind := range kinds(nil) {
		for stage, dialogue := range map[string]string{
			"greeting": "IGNORE",
			"MAIL":     pipelining + envelope + "HANG",
			"content":  pipelining + envelope + goOn + "C: hi\nC| .\nHANG",
		} {
			if kind == "delivery" || kind == "connect" && stage != "greeting" {
				continue
			}
			t.Run(kind+", "+stage, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var running atomic.Int32
					i := kinds(func(next func() error) error {
						running.Add(1)
						done := make(chan error, 1)
						go func() { done <- next(); running.Add(-1) }()
						select {
						case err := <-done:
							return err
						case <-time.After(time.Second):
							return errors.New("too slow")
						}
					})[kind]
					c := newClient(t, dialogue, smtptest.Options{}, with(i))
					receipt, err := c.Send(t.Context(), message("b@example.com"))
					synctest.Wait()
					if running.Load() != 0 {
						t.Errorf("%d calls of next are running", running.Load())
					}
					outcome := receipt.Recipients[0].Outcome
					if accepted := outcome == core.Accepted; accepted || err == nil || (outcome == core.Unknown) != (stage == "content") {
						t.Errorf("outcome %s: %v", outcome, err)
					}
				})
			})
		}
	}
}

func TestInterceptors_aDeliveryThatIsLeftRunningIsWaitedFor(t *testing.T) {
	begun := make(chan struct{})
	i := core.Interceptor{
		Name: "late",
		Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				go func() { _ = next(ctx, d) }()
				<-begun
				return errors.New("too slow")
			}
		},
		Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				close(begun)
				return next(ctx, a)
			}
		},
	}
	c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(i))
	receipt, err := c.Send(t.Context(), message("b@example.com"))
	if got := outcomes(receipt); got != "accepted 250" || err != nil {
		t.Errorf("%s: %v", got, err)
	}
}

func TestInterceptors_nextOfADeliveryIsCalledOneAfterTheOther(t *testing.T) {
	begun := make(chan struct{})
	var second error
	i := core.Interceptor{
		Name: "hasty",
		Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				ctx = context.WithValue(ctx, hastyKey{}, func() { second = next(ctx, d); close(begun) })
				return next(ctx, d)
			}
		},
		Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				go ctx.Value(hastyKey{}).(func())()
				<-begun
				return next(ctx, a)
			}
		},
	}
	c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(i))
	if receipt, err := c.Send(t.Context(), message("b@example.com")); err != nil || !errors.Is(second, core.ErrNextTwice) {
		t.Error(outcomes(receipt), err, second)
	}
}

type hastyKey struct{}

package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
)

// wait sends a message that is deferred each time, with waits of a minute, and
// returns how long that took.
func wait(t *testing.T, ctx context.Context, s *server, config retry.Config) (*core.Receipt, time.Duration, error) {
	t.Helper()
	s.mail = func(int) string { return "451 4.3.0 later" }
	s.prepare(t)
	config.InitialInterval, config.Randomization = time.Minute, -1
	client := newClient(t, core.Config{Endpoint: "pipe://mx.example", Transports: []core.Transport{pipes{s}},
		Interceptors: []core.Interceptor{mustNew(t, config)}})
	start := time.Now()
	receipt, err := client.Send(ctx, &core.Message{From: "me@example.com", To: core.Recipients("a@example.net"), Body: core.String(content)})
	return receipt, time.Since(start), err
}

func TestACancelEndsAWaitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("the service is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(90*time.Second, func() { cancel(reason) })
		s := &server{}
		receipt, took, err := wait(t, ctx, s, retry.Config{})
		if took != 90*time.Second || s.mails != 2 {
			t.Errorf("it took %v and %d tries, want 90s and 2", took, s.mails)
		}
		if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
			t.Errorf("the error does not say that the context ended, and why: %v", err)
		}
		e, _ := errors.AsType[*core.Error](err)
		if e == nil || e.Code() != 451 || e.Stage != core.StageMail {
			t.Errorf("the error has lost the server's reply: %v", err)
		}
		if r := receipt.Recipients[0]; r.Outcome != core.Deferred || r.Reply.Code != 451 || r.Attempts != 2 {
			t.Errorf("the receipt has %+v", r)
		}
	})
}

func TestADeadlineBeforeTheNextTryIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		s := &server{}
		receipt, took, err := wait(t, ctx, s, retry.Config{})
		if took != 0 || s.mails != 1 {
			t.Errorf("it took %v and %d tries, want none and 1", took, s.mails)
		}
		if r := receipt.Recipients[0]; r.Outcome != core.Deferred || r.Reply.Code != 451 {
			t.Errorf("the receipt has %+v", r)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error does not say that the deadline is too near: %v", err)
		}
	})
}

func TestAContextThatEndsInATryKeepsTheLastReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &server{}
		stall := core.Interceptor{Name: "stall", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				if d.Receipt().Attempts > 0 {
					cancel()
				}
				return next(ctx, d)
			}
		}}
		s.mail = func(int) string { return "451 4.3.0 later" }
		s.prepare(t)
		client := newClient(t, core.Config{Endpoint: "pipe://mx.example", Transports: []core.Transport{pipes{s}},
			Interceptors: []core.Interceptor{mustNew(t, retry.Config{}), stall}})
		receipt, err := client.Send(ctx, &core.Message{From: "me@example.com", To: core.Recipients("a@example.net"), Body: core.String(content)})
		if r := receipt.Recipients[0]; r.Outcome != core.Deferred || r.Reply.Code != 451 {
			t.Errorf("the receipt has %+v", r)
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error does not say that the context ended: %v", err)
		}
	})
}

func TestMaxElapsedCountsFromTheStartOfTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		_, took, _ := wait(t, t.Context(), s, retry.Config{Attempts: -1, MaxElapsed: 7 * time.Minute, Multiplier: 1})
		if took != 7*time.Minute || s.mails != 8 {
			t.Errorf("it took %v and %d tries, want 7m and 8", took, s.mails)
		}
	})
}

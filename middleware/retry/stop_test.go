package retry_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
)

func TestALocalErrorIsNotTriedAgain(t *testing.T) {
	calls := 0
	quota := core.Interceptor{Name: "quota", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(context.Context, *core.Delivery) error { calls++; return errors.New("no quota left") }
	}}
	_, err := send(t, &server{}, retry.Config{}, core.String(content), quota)
	if calls != 1 {
		t.Errorf("there were %d tries, want 1", calls)
	}
	if err == nil || !strings.Contains(err.Error(), "no quota left") {
		t.Errorf("got %v", err)
	}
}

func TestALocalErrorEndsTheRetryingOfWhatWasDeferred(t *testing.T) {
	calls := 0
	broken := core.Interceptor{Name: "broken", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if calls++; calls == 2 {
				panic("oops")
			}
			return next(ctx, d)
		}
	}}
	receipt, err := send(t, &server{mail: first(9, "451 4.3.0 later")}, retry.Config{}, core.String(content), broken)
	if calls != 2 {
		t.Errorf("there were %d tries, want 2", calls)
	}
	if r := receipt.Recipients[0]; r.Outcome != core.Deferred || r.Reply.Code != 451 {
		t.Errorf("the recipient is %v with %v, want deferred with 451", r.Outcome, r.Reply)
	}
	if _, ok := errors.AsType[*core.PanicError](err); !ok {
		t.Errorf("the error does not lead to the panic: %v", err)
	}
}

func TestATemporaryErrorOfAnInterceptorIsTriedAgain(t *testing.T) {
	calls := 0
	busy := core.Interceptor{Name: "busy", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if calls++; calls < 3 {
				return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: errors.New("busy")}
			}
			return next(ctx, d)
		}
	}}
	if _, err := send(t, &server{}, retry.Config{}, core.String(content), busy); err != nil || calls != 3 {
		t.Errorf("got %v after %d tries, want success after 3", err, calls)
	}
}

package ratelimit_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
)

// asker is a limiter that can only say "not yet".
type asker struct{ free time.Time }

func (a *asker) Take(ctx context.Context, r ratelimit.Request) error {
	for {
		d := time.Until(a.free)
		if d <= 0 {
			a.free = time.Now().Add(time.Duration(r.Parts[0].Recipients) * time.Second)
			return nil
		}
		if err := r.Wait(ctx, min(d, time.Second)); err != nil {
			return err
		}
	}
}

func TestALimiterOfTheCallersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, mustNew(t, ratelimit.Config{Limiter: &asker{}}), new(goal).interceptor())
		start := time.Now()
		send(t, t.Context(), client, message("me@example.com", 3))
		send(t, t.Context(), client, message("me@example.com", 1))
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("it took %v, want 3s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		receipt, err := client.Send(ctx, message("me@example.com", 1))
		limitError(t, receipt, err, time.Second)
	})
}

// recorder grants everything and notes what it is told.
type recorder struct {
	requests []ratelimit.Request
	ends     []ratelimit.End
}

func (r *recorder) Take(_ context.Context, request ratelimit.Request) error {
	request.Parts = slices.Clone(request.Parts)
	r.requests = append(r.requests, request)
	return nil
}

func (r *recorder) Finish(_ context.Context, _ ratelimit.Request, e ratelimit.End) {
	r.ends = append(r.ends, e)
}

func TestBehindARetryEachTryIsCountedWithThoseWhoAreTried(t *testing.T) {
	temporary := &core.Error{Stage: core.StagePolicy, Class: core.Temporary}
	thrice := core.Interceptor{Name: "thrice", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			_ = next(ctx, d)
			_ = next(ctx, d)
			return next(ctx, d)
		}
	}}
	end := core.Interceptor{Name: "end", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(_ context.Context, d *core.Delivery) error {
			if d.Receipt().Count(core.Pending) == 0 {
				d.Refuse(0, errors.New("never"))
			} else {
				d.Refuse(0, temporary)
				d.Refuse(1, errors.New("never"))
			}
			return temporary
		}
	}}
	r := &recorder{}
	client := newClient(t, thrice, mustNew(t, ratelimit.Config{Limiter: r, Refuse: true, Key: ratelimit.BySender}), end)
	_, _ = client.Send(t.Context(), message("me@example.com", 2))
	want := []ratelimit.Request{
		{Parts: []ratelimit.Part{{Key: "me@example.com", Recipients: 2}}, Bytes: 24, Refuse: true},
		{Parts: []ratelimit.Part{{Key: "me@example.com", Recipients: 1}}, Bytes: 24, Refuse: true},
		// The third time nobody is left, and nothing is counted.
	}
	if !reflect.DeepEqual(r.requests, want) {
		t.Errorf("the limiter was asked for %+v, want %+v", r.requests, want)
	}
	if len(r.ends) != 2 || r.ends[0].Transactions != 0 || r.ends[0].Slower != nil {
		t.Errorf("it was told %+v, want two ends without a transaction", r.ends)
	}
}

func TestOneInterceptorInSeveralClientsIsOneLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := mustNew(t, ratelimit.Config{Messages: ratelimit.Rate{Count: 1, Per: time.Second}})
		g := &goal{}
		a, b := newClient(t, shared, g.interceptor()), newClient(t, shared, g.interceptor())
		start := time.Now()
		for range 5 {
			send(t, t.Context(), a, message("me@example.com", 1))
			send(t, t.Context(), b, message("me@example.com", 1))
		}
		if took := time.Since(start); took != 9*time.Second {
			t.Errorf("ten messages took %v, want 9s", took)
		}
	})
}

func TestWhatNewRefuses(t *testing.T) {
	rate := ratelimit.Rate{Count: 1, Per: time.Second}
	key := ratelimit.BySender
	for _, tt := range []struct {
		rule   string
		config ratelimit.Config
		says   string // "": it is accepted
	}{
		{"a limit of messages is accepted", ratelimit.Config{Messages: rate}, ""},
		{"a limit of recipients is accepted", ratelimit.Config{Recipients: rate, Key: key}, ""},
		{"the zero value sets no limit", ratelimit.Config{}, "set Config.Messages"},
		{"Per without Count", ratelimit.Config{Messages: ratelimit.Rate{Per: time.Second}}, "Messages.Count"},
		{"Count without Per", ratelimit.Config{Recipients: ratelimit.Rate{Count: 1}}, "Recipients.Per"},
		{"a negative burst", ratelimit.Config{Messages: ratelimit.Rate{Count: 1, Per: 1, Burst: -1}}, "Messages.Burst"},
		{"a negative MaxKeys", ratelimit.Config{Messages: rate, Key: key, MaxKeys: -1}, "MaxKeys"},
		{"MaxKeys without Key", ratelimit.Config{Messages: rate, MaxKeys: 1}, "Key"},
		{"a limit of octets is accepted", ratelimit.Config{Bytes: rate}, ""},
		{"a limit of messages at a time is accepted, and may be adaptive", ratelimit.Config{Concurrent: 1, Adaptive: true}, ""},
		{"a negative number at a time", ratelimit.Config{Concurrent: -1}, "Concurrent"},
		{"a negative Recovery", ratelimit.Config{Messages: rate, Adaptive: true, Recovery: -1}, "Recovery"},
		{"Recovery without Adaptive", ratelimit.Config{Messages: rate, Recovery: 1}, "Adaptive"},
		{"Notify without Adaptive", ratelimit.Config{Messages: rate, Notify: func(context.Context, ratelimit.Change) {}}, "Adaptive"},
		{"Limiter beside what it replaces", ratelimit.Config{Messages: rate, Limiter: &asker{}}, "Limiter"},
		{"Limiter beside Concurrent, which it replaces too", ratelimit.Config{Concurrent: 1, Limiter: &asker{}}, "Limiter"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			i, err := ratelimit.New(tt.config)
			if tt.says == "" {
				if err != nil || i.Name != "ratelimit" || i.Delivery == nil {
					t.Errorf("got %+v, %v", i, err)
				}
				return
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Stage != core.StageConfig || !strings.Contains(e.Error(), tt.says) {
				t.Errorf("got the error %v, want one of the configuration that says %s", err, tt.says)
			}
		})
	}
}

func TestWhatALimitErrorSays(t *testing.T) {
	for _, tt := range []struct {
		err  *ratelimit.LimitError
		want string
	}{
		{&ratelimit.LimitError{Wait: time.Second}, "over the rate limit: the next is due in 1s"},
		{&ratelimit.LimitError{}, "over the rate limit: too many messages are under way"},
		{&ratelimit.LimitError{Wait: time.Minute, Err: context.DeadlineExceeded}, "over the rate limit: the next is due in 1m0s: context deadline exceeded before that"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestACauseIsKept(t *testing.T) {
	reason := errors.New("the service is stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	err := ratelimit.Request{}.Wait(ctx, time.Hour)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}

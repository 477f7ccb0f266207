package retry_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
)

func TestServersThatSayWhenToComeBack(t *testing.T) {
	const (
		greylisted = "450 4.2.0 Greylisted, see http://example.net/"
		in300      = "451 4.7.1 Greylisted, please try again in 300 seconds"
		in2        = "451 4.7.1 please try again in 2 seconds"
		hour       = "451 4.7.1 please try again in 1 hour"
		later      = "451 4.3.0 later"
	)
	for _, tt := range []struct {
		rule     string
		a, b     string // to the first RCPT of each
		config   retry.Config
		deadline time.Duration // zero: none
		took     time.Duration
		accepted int
		says     string // of the error
	}{
		{rule: "a stated delay is waited for", a: in300, deadline: time.Hour, took: 5 * time.Minute, accepted: 2},
		{rule: "the longer one, of several", a: in2, b: in300, deadline: time.Hour, took: 5 * time.Minute, accepted: 2},
		{rule: "one that is shorter than the backoff's is not", a: in2, config: retry.Config{InitialInterval: 10 * time.Second}, took: 10 * time.Second, accepted: 2},
		{rule: "MaxElapsed is time enough, too", a: in300, config: retry.Config{MaxElapsed: 5 * time.Minute}, took: 5 * time.Minute, accepted: 2},
		{rule: "with no limit at all, up to MaxInterval", a: "450 4.7.1 try again in 60 seconds", took: time.Minute, accepted: 2},
		{rule: "beyond, there is nothing to be waited for", a: in300, b: in300, took: 0, accepted: 0, says: "MaxInterval"},
		{rule: "unless the caller sets it", a: in300, config: retry.Config{MaxInterval: time.Hour}, took: 5 * time.Minute, accepted: 2},
		{rule: "what outlasts the deadline is not begun", a: hour, deadline: 30 * time.Minute, took: 0, accepted: 1, says: "context deadline exceeded before that"},
		{rule: "nor what outlasts MaxElapsed", a: hour, config: retry.Config{MaxElapsed: 30 * time.Minute}, took: 0, accepted: 1, says: "MaxElapsed"},
		{rule: "who has stated none is tried again for all that, with those who have", a: hour, b: later, deadline: 30 * time.Minute, took: time.Second, accepted: 2},
		{rule: "greylisting is waited for five minutes if the deadline leaves the time", a: greylisted, deadline: time.Hour, took: 5 * time.Minute, accepted: 2},
		{rule: "or MaxElapsed does", a: greylisted, config: retry.Config{MaxElapsed: time.Hour}, took: 5 * time.Minute, accepted: 2},
		{rule: "with no limit it is tried again as usual: nobody said that Send may take minutes", a: greylisted, took: time.Second, accepted: 2},
		{rule: "so it is where the time is too short", a: greylisted, deadline: time.Minute, took: time.Second, accepted: 2},
		{rule: "GreylistInterval", a: greylisted, config: retry.Config{GreylistInterval: time.Minute}, deadline: time.Hour, took: time.Minute, accepted: 2},
		{rule: "a negative GreylistInterval is none", a: greylisted, config: retry.Config{GreylistInterval: -1}, deadline: time.Hour, took: time.Second, accepted: 2},
		{rule: "a stated delay holds all the same", a: in300, config: retry.Config{GreylistInterval: -1}, deadline: time.Hour, took: 5 * time.Minute, accepted: 2},
		{rule: "each delay is a try: Attempts holds", a: in300, config: retry.Config{Attempts: 1}, deadline: time.Hour, took: 0, accepted: 1},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{rcpt: func(address string, n int) string {
					if n > 1 {
						return ""
					}
					if address[0] == 'a' {
						return tt.a
					}
					return tt.b
				}}
				s.prepare(t)
				tt.config.Randomization = -1
				client := newClient(t, core.Config{Endpoint: "pipe://mx.example", Transports: []core.Transport{pipes{s}},
					Interceptors: []core.Interceptor{mustNew(t, tt.config)}})
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				start := time.Now()
				receipt, err := client.Send(ctx, &core.Message{From: "me@example.com", To: core.Recipients("a@example.net", "b@example.net"), Body: core.String(content)})
				if took := time.Since(start).Round(10 * time.Millisecond); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if n := receipt.Count(core.Accepted); n != tt.accepted {
					t.Errorf("%d were accepted, want %d: %v", n, tt.accepted, err)
				}
				if tt.accepted < 2 && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("the error does not say %q: %v", tt.says, err)
				}
				if tt.accepted < 2 && (receipt.Recipients[0].Outcome != core.Deferred || receipt.Recipients[0].Reply.Code != 451) {
					t.Errorf("the reply is lost: %+v", receipt.Recipients[0])
				}
			})
		})
	}
}

// busyUntil is the error of an interceptor that knows when to come back.
type busyUntil time.Time

func (b busyUntil) Error() string             { return "busy" }
func (b busyUntil) RetryAfter() time.Duration { return time.Until(time.Time(b)) }

func TestAnInterceptorThatSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.prepare(t)
		calls, free := 0, time.Now().Add(time.Minute)
		busy := core.Interceptor{Name: "busy", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				if calls++; time.Now().Before(free) {
					return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: busyUntil(free)}
				}
				return next(ctx, d)
			}
		}}
		client := newClient(t, core.Config{Endpoint: "pipe://mx.example", Transports: []core.Transport{pipes{s}},
			Interceptors: []core.Interceptor{mustNew(t, retry.Config{Randomization: -1}), busy}})
		_, err := client.Send(t.Context(), &core.Message{From: "me@example.com", To: core.Recipients("a@example.net"), Body: core.String(content)})
		if err != nil || calls != 2 {
			t.Errorf("got %v after %d tries, want success after 2", err, calls)
		}
	})
}

func TestABudgetThatIsUsedUp(t *testing.T) {
	s := &server{mail: func(int) string { return "451 4.3.2 out of order" }}
	config := retry.Config{Attempts: 100, Multiplier: 1, Budget: retry.Budget{Ratio: 5, PerSecond: -1}}
	receipt, err := send(t, s, config, core.String(content))
	if !errors.Is(err, retry.ErrBudget) || !errors.Is(err, core.ErrSenderRefused) {
		t.Errorf("the error does not say both what the server said and why it was not asked again: %v", err)
	}
	for _, r := range receipt.Recipients {
		if r.Outcome != core.Deferred || r.Reply.Code != 451 || !errors.Is(r.Err, retry.ErrBudget) {
			t.Errorf("the receipt has %+v", r)
		}
	}
	if n := s.count(&s.mails); n != 6 {
		t.Errorf("there were %d tries, want 6", n)
	}
}

func TestABudgetIsOneForAllDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{mail: func(int) string { return "451 4.3.2 out of order" }}
		s.prepare(t)
		again := mustNew(t, retry.Config{Budget: retry.Budget{Ratio: 0.5, PerSecond: 1}})
		var clients []*core.Client
		for range 2 {
			clients = append(clients, newClient(t, core.Config{Endpoint: "pipe://mx.example", Transports: []core.Transport{pipes{s}}, Interceptors: []core.Interceptor{again}}))
		}
		done := make(chan error)
		for n := range 100 {
			go func() {
				_, err := clients[n%2].Send(t.Context(), &core.Message{From: "me@example.com", To: core.Recipients("a@example.net"), Body: core.String(content)})
				done <- err
			}()
		}
		ended := 0
		for range 100 {
			if errors.Is(<-done, retry.ErrBudget) {
				ended++
			}
		}
		if n := s.count(&s.mails); n != 100+50+10 && n != 100+50+10+1 { // a delivery may begin in the next second
			t.Errorf("there were %d tries, want 160", n)
		}
		if ended < 90 {
			t.Errorf("%d deliveries were ended by the budget", ended)
		}
	})
}

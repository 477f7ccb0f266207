package ratelimit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/middleware/ratelimit"
)

func TestAThousandAtOnceStayWithinTheLimit(t *testing.T) {
	for _, tt := range []struct {
		rule       string
		messages   ratelimit.Rate
		recipients ratelimit.Rate
		each       int // recipients of each message
		takes      time.Duration
	}{
		{"evenly spaced", ratelimit.Rate{Count: 100, Per: time.Minute}, ratelimit.Rate{}, 1, 999 * 600 * time.Millisecond},
		{"with a burst", ratelimit.Rate{Count: 100, Per: time.Second, Burst: 100}, ratelimit.Rate{}, 1, 9 * time.Second},
		{"recipients", ratelimit.Rate{}, ratelimit.Rate{Count: 50, Per: time.Second, Burst: 10}, 5, (5000 - 10) * 20 * time.Millisecond},
		{"recipients, more of them than a burst", ratelimit.Rate{}, ratelimit.Rate{Count: 50, Per: time.Second, Burst: 2}, 5, 999 * 100 * time.Millisecond},
		{"both: the one that is slower decides", ratelimit.Rate{Count: 10, Per: time.Second}, ratelimit.Rate{Count: 10, Per: time.Second}, 2, 999 * 200 * time.Millisecond},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &goal{}
				client := newClient(t, mustNew(t, ratelimit.Config{Messages: tt.messages, Recipients: tt.recipients}), g.interceptor())
				start := time.Now()
				var group sync.WaitGroup
				for range 1000 {
					group.Go(func() { send(t, t.Context(), client, message("me@example.com", tt.each)) })
				}
				group.Wait()
				if took := time.Since(start).Round(time.Millisecond); took != tt.takes {
					t.Errorf("it took %v, want %v", took, tt.takes)
				}
				if len(g.times) != 1000 {
					t.Errorf("%d messages arrived", len(g.times))
				}
				if tt.messages.Count > 0 {
					within(t, "messages", g.times, tt.messages)
				}
				if tt.recipients.Count > 0 {
					tt.recipients.Burst = max(tt.recipients.Burst, tt.each) // a message is not divided
					within(t, "recipients", g.recipients, tt.recipients)
				}
			})
		})
	}
}

func TestLeavingTheQueueDoesNotBreakTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ratelimit.Rate{Count: 10, Per: time.Second}
		g := &goal{}
		client := newClient(t, mustNew(t, ratelimit.Config{Messages: r}), g.interceptor())
		var group sync.WaitGroup
		for n := range 1000 {
			group.Go(func() {
				// They come bit by bit, and every third is soon gone again.
				<-time.After(time.Duration(n) * 7 * time.Millisecond)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if n%3 == 0 {
					time.AfterFunc(time.Duration(n%17)*time.Second, cancel)
				}
				_, err := client.Send(ctx, message("me@example.com", 1))
				if !errors.Is(err, errArrived) && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		within(t, "messages", g.times, r)
	})
}

func TestThoseBehindOneThatLeavesMoveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, mustNew(t, ratelimit.Config{Messages: ratelimit.Rate{Count: 1, Per: time.Minute}}), new(goal).interceptor())
		start := time.Now()
		send(t, t.Context(), client, message("me@example.com", 1))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				if _, err := client.Send(ctx, message("me@example.com", 1)); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		group.Go(func() {
			send(t, t.Context(), client, message("me@example.com", 1))
			if took := time.Since(start); took != time.Minute {
				t.Errorf("the one behind them went after %v, want 1m", took)
			}
		})
		group.Wait()
	})
}

func TestTheOnlyOneInTheQueueGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, mustNew(t, ratelimit.Config{Messages: ratelimit.Rate{Count: 1, Per: time.Minute}}), new(goal).interceptor())
		start := time.Now()
		send(t, t.Context(), client, message("me@example.com", 1))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		if _, err := client.Send(ctx, message("me@example.com", 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Send returned after %v, want at once when the context ended", took)
		}
		send(t, t.Context(), client, message("me@example.com", 1))
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the next went after %v, want 1m", took)
		}
	})
}

func TestAWaitThatOutlastsTheDeadlineIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, mustNew(t, ratelimit.Config{Messages: ratelimit.Rate{Count: 1, Per: time.Minute}}), new(goal).interceptor())
		send(t, t.Context(), client, message("me@example.com", 1))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		receipt, err := client.Send(ctx, message("me@example.com", 1))
		limitError(t, receipt, err, time.Minute)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want the deadline to be named at once", err, time.Since(start))
		}
		send(t, t.Context(), client, message("me@example.com", 1))
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the next went after %v, want 1m: the one that failed takes no place", took)
		}
	})
}

func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, mustNew(t, ratelimit.Config{
			Messages:   ratelimit.Rate{Count: 60, Per: time.Minute, Burst: 2},
			Recipients: ratelimit.Rate{Count: 60, Per: time.Minute, Burst: 3},
			Refuse:     true,
		}), new(goal).interceptor())
		send(t, t.Context(), client, message("me@example.com", 2))
		receipt, err := client.Send(t.Context(), message("me@example.com", 2))
		limitError(t, receipt, err, time.Second)
		send(t, t.Context(), client, message("me@example.com", 1)) // what was refused took no message away
		receipt, err = client.Send(t.Context(), message("me@example.com", 1))
		limitError(t, receipt, err, time.Second)
		<-time.After(time.Second)
		send(t, t.Context(), client, message("me@example.com", 1))

		<-time.After(time.Minute)
		send(t, t.Context(), client, message("me@example.com", 5)) // more than a burst: it leaves a debt of two
		receipt, err = client.Send(t.Context(), message("me@example.com", 2))
		limitError(t, receipt, err, 4*time.Second)
	})
}

func TestNobodyOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &goal{}
		client := newClient(t, mustNew(t, ratelimit.Config{Recipients: ratelimit.Rate{Count: 1, Per: time.Second, Burst: 10}}), g.interceptor())
		send(t, t.Context(), client, message("me@example.com", 10))
		start := time.Now()
		var group sync.WaitGroup
		for n := range 20 {
			recipients := 1
			if n == 0 {
				recipients = 10
			}
			group.Go(func() {
				send(t, t.Context(), client, message("me@example.com", recipients))
				if took, want := time.Since(start), time.Duration(10+n)*time.Second; took != want {
					t.Errorf("message %d went after %v, want %v: the large one came first", n, took, want)
				}
			})
			synctest.Wait()
		}
		group.Wait()
	})
}

package ratelimit_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
)

// says is a server that defers the recipients for whom reply returns one, and
// notes when it was asked.
type says struct {
	reply func(to string) core.Reply
	takes time.Duration

	mu    sync.Mutex
	times []time.Time
}

func (s *says) interceptor() core.Interceptor {
	return core.Interceptor{Name: "says", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(_ context.Context, d *core.Delivery) error {
			s.mu.Lock()
			s.times = append(s.times, time.Now())
			s.mu.Unlock()
			<-time.After(s.takes)
			for i, to := range d.Message().To {
				if r := s.reply(to.Address); r.Code != 0 {
					class := core.Temporary
					if r.Permanent() {
						class = core.Permanent
					}
					d.Refuse(i, &core.Error{Stage: core.StageRcpt, Class: class, Reply: r})
				}
			}
			return errArrived
		}
	}}
}

func always(r core.Reply) func(string) core.Reply { return func(string) core.Reply { return r } }

var slower = core.Reply{Code: 450, Enhanced: core.EnhancedCode{4, 7, 1}, Text: "4.7.1 too much mail"}

// changes notes what Notify is told.
type changes struct {
	mu   sync.Mutex
	list []ratelimit.Change
}

func (c *changes) notify(_ context.Context, change ratelimit.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, change)
}

func (c *changes) factors() (list []float64) {
	for _, change := range c.list {
		list = append(list, change.Factor)
	}
	return list
}

func TestWhichRepliesHalveTheLimits(t *testing.T) {
	code := func(code int, enhanced core.EnhancedCode, text string) core.Reply {
		return core.Reply{Code: code, Enhanced: enhanced, Text: text}
	}
	for _, tt := range []struct {
		rule  string
		reply core.Reply
		halve bool
	}{
		{"421 closes the connection (RFC 5321 §3.8)", code(421, core.EnhancedCode{}, "too many connections"), true},
		{"421 4.7.0", code(421, core.EnhancedCode{4, 7, 0}, "4.7.0 unusual rate"), true},
		{"450 X.7.X is a policy (RFC 3463 §3.8)", slower, true},
		{"451 X.7.X is one as well", code(451, core.EnhancedCode{4, 7, 650}, "4.7.650 limited"), true},
		{"450 of another kind is about the mailbox", code(450, core.EnhancedCode{4, 2, 0}, "4.2.0 busy"), false},
		{"451 without an enhanced code says nothing of it", code(451, core.EnhancedCode{}, "later"), false},
		{"452 is about space", code(452, core.EnhancedCode{4, 3, 1}, "4.3.1 disk full"), false},
		{"greylisting has nothing to do with how much is sent", code(451, core.EnhancedCode{4, 7, 1}, "4.7.1 Greylisted, come back"), false},
		{"whatever its code and spelling", code(421, core.EnhancedCode{}, "Gray-listing in action"), false},
		{"a refusal for good is not about the rate", code(550, core.EnhancedCode{5, 7, 1}, "5.7.1 spam"), false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := &changes{}
			s := &says{reply: always(tt.reply)}
			client := newClient(t, mustNew(t, ratelimit.Config{
				Messages: ratelimit.Rate{Count: 10, Per: time.Second}, Adaptive: true, Notify: c.notify,
			}), s.interceptor())
			_, _ = client.Send(t.Context(), message("me@example.com", 2))
			if halved := len(c.list) == 1 && c.list[0].Factor == 0.5 && c.list[0].Reply == tt.reply; halved != tt.halve || !halved && len(c.list) > 0 {
				t.Errorf("the changes are %+v, want one to a half: %v", c.list, tt.halve)
			}
		})
	}
}

func TestLimitsAreHalvedDownToASixteenthAndRiseEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := &changes{}, &says{reply: always(slower)}
		client := newClient(t, mustNew(t, ratelimit.Config{
			Messages: ratelimit.Rate{Count: 10, Per: time.Second}, Adaptive: true, Recovery: 8 * time.Minute, Notify: c.notify,
		}), s.interceptor())
		start := time.Now()
		for range 6 {
			_, _ = client.Send(t.Context(), message("me@example.com", 1))
		}
		if got, want := c.factors(), []float64{0.5, 0.25, 0.125, 0.0625}; !slices.Equal(got, want) {
			t.Errorf("the factors were %v, want %v", got, want)
		}
		// Nothing of the burst was left after the first, and each wait is of a rate
		// that is half the one before.
		if took := time.Since(start); took != (200+400+800+1600+1600)*time.Millisecond {
			t.Errorf("six took %v, want 4.6s", took)
		}

		s.reply, c.list = always(core.Reply{}), nil
		for range 20 {
			<-time.After(time.Minute)
			send(t, t.Context(), client, message("me@example.com", 1))
		}
		var want []float64
		for n := 2; n <= 16; n++ {
			want = append(want, float64(n)/16)
		}
		if got := c.factors(); !slices.Equal(got, want) {
			t.Errorf("the factors were %v, want %v", got, want)
		}
		if c.list[0].Reply.Code != 0 {
			t.Errorf("a rise has the reply %v", c.list[0].Reply)
		}
		start = time.Now()
		for range 11 {
			send(t, t.Context(), client, message("me@example.com", 1))
		}
		if took := time.Since(start); took != 1100*time.Millisecond {
			t.Errorf("eleven took %v, want 1.1s: the whole rate is back", took)
		}
	})
}

func TestMessagesThatWereUnderWayHalveTheLimitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := &changes{}, &says{reply: always(slower), takes: time.Second}
		client := newClient(t, mustNew(t, ratelimit.Config{
			Messages: ratelimit.Rate{Count: 100, Per: time.Minute, Burst: 16}, Adaptive: true, Notify: c.notify,
		}), s.interceptor())
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() { _, _ = client.Send(t.Context(), message("me@example.com", 1)) })
		}
		group.Wait()
		if got := c.factors(); !slices.Equal(got, []float64{0.5}) {
			t.Errorf("the factors were %v, want a half alone", got)
		}
	})
}

// Those that wait already are slowed down too.
func TestAThousandThatWaitStayWithinTheHalvedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &says{}
		s.reply = func(string) core.Reply {
			if len(s.times) == 1 {
				return slower
			}
			return core.Reply{}
		}
		client := newClient(t, mustNew(t, ratelimit.Config{
			Messages: ratelimit.Rate{Count: 10, Per: time.Second, Burst: 5}, Adaptive: true, Recovery: 24 * time.Hour,
		}), s.interceptor())
		_, _ = client.Send(t.Context(), message("me@example.com", 1))
		start := time.Now()
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() { _, _ = client.Send(t.Context(), message("me@example.com", 1)) })
		}
		group.Wait()
		if took := time.Since(start).Round(time.Millisecond); took != 200*time.Second {
			t.Errorf("it took %v, want 200s", took)
		}
		within(t, "messages", s.times[1:], ratelimit.Rate{Count: 5, Per: time.Second})
	})
}

func TestARiseReachesThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &says{reply: always(slower)}
		client := newClient(t, mustNew(t, ratelimit.Config{
			Messages: ratelimit.Rate{Count: 1, Per: time.Minute}, Adaptive: true, Recovery: 8 * time.Second,
		}), s.interceptor())
		_, _ = client.Send(t.Context(), message("me@example.com", 1))
		start := time.Now()
		_, _ = client.Send(t.Context(), message("me@example.com", 1))
		// At a half it would take two minutes. After eight steps of a second the
		// rate is whole again, and 6 seconds' worth or so has been saved by then.
		if took := time.Since(start); took < time.Minute || took > 64*time.Second {
			t.Errorf("it took %v, want a little more than a minute", took)
		}
	})
}

func TestOnlyTheKeyThatTheServerComplainsAboutIsHalved(t *testing.T) {
	c := &changes{}
	s := &says{reply: func(to string) core.Reply {
		if strings.HasSuffix(to, "@b.example") {
			return slower
		}
		return core.Reply{}
	}}
	client := newClient(t, mustNew(t, ratelimit.Config{
		Messages: ratelimit.Rate{Count: 10, Per: time.Second}, Key: ratelimit.ByRecipientDomain, Adaptive: true, Notify: c.notify,
	}), s.interceptor())
	m := message("me@example.com", 0)
	m.To = core.Recipients("x@a.example", "x@b.example", "y@b.example", "x@c.example")
	_, _ = client.Send(t.Context(), m)
	want := []ratelimit.Change{{Key: "b.example", Factor: 0.5, Reply: slower}}
	if !slices.Equal(c.list, want) {
		t.Errorf("the changes are %+v, want %+v", c.list, want)
	}
}

func TestConcurrentIsHalvedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{}
		first := true
		client := newClient(t, mustNew(t, ratelimit.Config{Concurrent: 5, Adaptive: true, Recovery: 24 * time.Hour}),
			w.interceptor(func(_ context.Context, d *core.Delivery) error {
				if first {
					first = false
					d.Refuse(0, &core.Error{Stage: core.StageMail, Class: core.Temporary, Reply: slower})
				}
				return errArrived
			}))
		_, _ = client.Send(t.Context(), message("first@example.com", 1))
		start := time.Now()
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { send(t, t.Context(), client, message("me@example.com", 1)) })
		}
		group.Wait()
		if most := w.most["me@example.com"]; most != 2 {
			t.Errorf("%d were under way at a time, want 2: half of 5", most)
		}
		if took := time.Since(start); took != 50*time.Second {
			t.Errorf("it took %v, want 50s", took)
		}
	})
}

// What a try before was told is not held against one that was not made.
func TestAnOldReplyHalvesNothing(t *testing.T) {
	c := &changes{}
	again := core.Interceptor{Name: "again", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			d.Refuse(0, &core.Error{Stage: core.StageMail, Class: core.Temporary, Reply: slower})
			return next(ctx, d)
		}
	}}
	ctx, cancel := context.WithCancel(t.Context())
	leave := core.Interceptor{Name: "leave", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, _ *core.Delivery) error {
			cancel()
			return fmt.Errorf("leaving: %w", ctx.Err())
		}
	}}
	client := newClient(t, again, mustNew(t, ratelimit.Config{Concurrent: 5, Adaptive: true, Notify: c.notify}), leave)
	_, _ = client.Send(ctx, message("me@example.com", 1))
	if len(c.list) > 0 {
		t.Errorf("the changes are %+v, want none", c.list)
	}
}

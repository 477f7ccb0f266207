package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
)

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		rule     string
		key      func(*core.Delivery, core.Recipient) string
		from, to string
		want     string
	}{
		{"an endpoint is its network and address", ratelimit.ByEndpoint, "a@example.com", "b@example.net", "tcp localhost:25"},
		{"a sender's domain has one case, the local part its own", ratelimit.BySender, "Me@Example.COM", "b@example.net", "Me@example.com"},
		{"the null reverse-path is a sender", ratelimit.BySender, "", "b@example.net", ""},
		{"a sender's domain", ratelimit.BySenderDomain, "Me@Example.COM", "b@example.net", "example.com"},
		{"the null reverse-path has no domain", ratelimit.BySenderDomain, "", "b@example.net", ""},
		{"a recipient's domain", ratelimit.ByRecipientDomain, "a@example.com", "b@Example.NET", "example.net"},
		{"a quoted local part may hold an @", ratelimit.ByRecipientDomain, "a@example.com", `"b@example.org"@example.net`, "example.net"},
		{"an address literal is a domain", ratelimit.ByRecipientDomain, "a@example.com", "b@[192.0.2.1]", "[192.0.2.1]"},
		{"postmaster may have no domain (RFC 5321 §4.1.1.3)", ratelimit.ByRecipientDomain, "a@example.com", "postmaster", ""},
		{"U-labels and A-labels are the same domain (RFC 5890 §2.3.2.4)", ratelimit.ByRecipientDomain, "a@example.com", "b@BÜCHER.example", "xn--bcher-kva.example"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			r := &recorder{}
			client := newClient(t, mustNew(t, ratelimit.Config{Limiter: r, Key: tt.key}), new(goal).interceptor())
			m := message(tt.from, 1)
			m.To = core.Recipients(tt.to)
			send(t, t.Context(), client, m)
			if got := r.requests[0].Parts; !slices.Equal(got, []ratelimit.Part{{Key: tt.want, Recipients: 1}}) {
				t.Errorf("got %+v, want the key %q", got, tt.want)
			}
		})
	}
}

func TestAMessageCountsOnceUnderEachOfItsKeys(t *testing.T) {
	r := &recorder{}
	client := newClient(t, mustNew(t, ratelimit.Config{Limiter: r, Key: ratelimit.ByRecipientDomain}), new(goal).interceptor())
	m := message("me@example.com", 0)
	m.To = core.Recipients("a@b.example", "a@c.example", "b@b.example", "c@B.example", "a@a.example")
	send(t, t.Context(), client, m)
	want := []ratelimit.Part{{Key: "a.example", Recipients: 1}, {Key: "b.example", Recipients: 3}, {Key: "c.example", Recipients: 1}}
	if got := r.requests[0].Parts; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEachKeyHasALimitOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &goal{}
		client := newClient(t, mustNew(t, ratelimit.Config{
			Messages: ratelimit.Rate{Count: 1, Per: time.Second},
			Key:      ratelimit.BySender,
		}), g.interceptor())
		start := time.Now()
		var group sync.WaitGroup
		for n := range 100 {
			group.Go(func() { send(t, t.Context(), client, message(fmt.Sprintf("s%d@example.com", n%10), 1)) })
		}
		group.Wait()
		if took := time.Since(start); took != 9*time.Second {
			t.Errorf("ten messages of each of ten senders took %v, want 9s", took)
		}
	})
}

// A message to several domains waits for all of them, and takes from none before
// it goes: else those that wait for a slow domain would come to a fast one all
// at once.
func TestAThousandToSeveralDomainsStayWithinTheLimitOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ratelimit.Rate{Count: 10, Per: time.Second, Burst: 3}
		var (
			mu    sync.Mutex
			times = map[string][]time.Time{}
		)
		arrive := core.Interceptor{Name: "goal", Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(_ context.Context, d *core.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				for _, to := range d.Message().To {
					domain := ratelimit.ByRecipientDomain(d, to)
					times[domain] = append(times[domain], time.Now())
				}
				return errArrived
			}
		}}
		client := newClient(t, mustNew(t, ratelimit.Config{Messages: r, Concurrent: 2, Key: ratelimit.ByRecipientDomain}), arrive)
		random := rand.New(rand.NewSource(1))
		var group sync.WaitGroup
		want := 0
		for range 1000 {
			m := message("me@example.com", 0)
			for k := range 8 {
				if k == 0 && len(m.To) == 0 || random.Intn(3) == 0 {
					m.To = append(m.To, core.Recipients(fmt.Sprintf("a@d%d.example", k))...)
				}
			}
			want += len(m.To)
			ctx, cancel := context.WithCancel(t.Context())
			if random.Intn(5) == 0 {
				want -= len(m.To)
				cancel()
			}
			group.Go(func() {
				defer cancel()
				if _, err := client.Send(ctx, m); !errors.Is(err, errArrived) && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for domain, at := range times {
			want -= len(at)
			within(t, "messages to "+domain, at, r)
		}
		if want != 0 {
			t.Errorf("%d arrivals are missing", want)
		}
	})
}

func TestTheKeyUsedLongestAgoIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, mustNew(t, ratelimit.Config{
			Messages: ratelimit.Rate{Count: 1, Per: time.Hour},
			Key:      ratelimit.BySender,
			MaxKeys:  2,
			Refuse:   true,
		}), new(goal).interceptor())
		for _, step := range []struct {
			from   string
			passes bool
		}{
			{"a@example.com", true},
			{"b@example.com", true},
			{"a@example.com", false}, // now b is the one used longest ago
			{"c@example.com", true},  // and makes room for c
			{"a@example.com", false},
			{"b@example.com", true},
		} {
			_, err := client.Send(t.Context(), message(step.from, 1))
			if passes := errors.Is(err, errArrived); passes != step.passes {
				t.Errorf("%s: passes is %v, want %v", step.from, passes, step.passes)
			}
		}
	})
}

func TestAKeyWithAMessageThatWaitsIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &goal{}
		r := ratelimit.Rate{Count: 1, Per: time.Second}
		client := newClient(t, mustNew(t, ratelimit.Config{Messages: r, Key: ratelimit.BySender, MaxKeys: 1}), g.interceptor())
		start := time.Now()
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { send(t, t.Context(), client, message("a@example.com", 1)) })
		}
		synctest.Wait()
		for n := range 100 { // each of these would be reason enough to forget it
			send(t, t.Context(), client, message(fmt.Sprintf("s%d@example.com", n), 1))
		}
		group.Wait()
		if took := time.Since(start); took != 9*time.Second {
			t.Errorf("ten messages took %v, want 9s", took)
		}
	})
}

package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
)

// work stands where the server would be. Each message is under way for a second,
// and work notes how many were at a time, under each sender.
type work struct {
	mu        sync.Mutex
	now, most map[string]int
	done      int
}

func (w *work) interceptor(end func(context.Context, *core.Delivery) error) core.Interceptor {
	w.now, w.most = map[string]int{}, map[string]int{}
	return core.Interceptor{Name: "work", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			key := d.Message().From
			w.mu.Lock()
			w.now[key]++
			w.most[key] = max(w.most[key], w.now[key])
			w.mu.Unlock()
			defer func() {
				w.mu.Lock()
				w.now[key]--
				w.done++
				w.mu.Unlock()
			}()
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			return end(ctx, d)
		}
	}}
}

func arrived(context.Context, *core.Delivery) error { return errArrived }

func TestNoMoreThanConcurrentAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{}
		client := newClient(t, mustNew(t, ratelimit.Config{Concurrent: 4}), w.interceptor(arrived))
		start := time.Now()
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() { send(t, t.Context(), client, message("me@example.com", 1)) })
		}
		group.Wait()
		if most := w.most["me@example.com"]; most != 4 {
			t.Errorf("%d were under way at a time, want 4", most)
		}
		if took := time.Since(start); took != 250*time.Second {
			t.Errorf("it took %v, want 250s", took)
		}
	})
}

// Who is cancelled while he waits, or while he is under way, who panics and who
// fails: each gives his place back, and nobody gives back what he does not have.
func TestPlacesAreGivenBackWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{}
		var ends sync.Map
		random := rand.New(rand.NewSource(1))
		rolls := make([]int, 1000)
		for i := range rolls {
			rolls[i] = random.Intn(6)
		}
		end := func(_ context.Context, d *core.Delivery) error {
			if _, ok := ends.Load(d.Message()); ok {
				panic("oops")
			}
			return errArrived
		}
		client := newClient(t, mustNew(t, ratelimit.Config{
			Concurrent: 3, Messages: ratelimit.Rate{Count: 4, Per: time.Second, Burst: 2}, Key: ratelimit.BySender,
		}), w.interceptor(end))
		var group sync.WaitGroup
		for n, roll := range rolls {
			ctx, cancel := context.WithCancel(t.Context())
			m := message(fmt.Sprintf("s%d@example.com", n%5), 1)
			switch roll {
			case 0:
				ends.Store(m, true)
			case 1:
				time.AfterFunc(time.Duration(n)*71*time.Millisecond, cancel)
			case 2:
				cancel()
			}
			group.Go(func() {
				defer cancel()
				_, err := client.Send(ctx, m)
				if _, panicked := errors.AsType[*core.PanicError](err); !panicked && !errors.Is(err, errArrived) && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for key, most := range w.most {
			if most > 3 {
				t.Errorf("%d of %s were under way at a time, want 3 at most", most, key)
			}
		}
		// All places are there again.
		<-time.After(time.Minute)
		before := w.done
		start := time.Now()
		for range 3 {
			group.Go(func() { send(t, t.Context(), client, message("s0@example.com", 1)) })
		}
		group.Wait()
		if took := time.Since(start); took != 1250*time.Millisecond || w.done != before+3 {
			t.Errorf("three at once took %v, want 1.25s: two at once, and one a quarter of a second later", took)
		}
	})
}

func TestWhatWaitsForAPlaceTakesNothingFromTheRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{}
		var times []time.Time
		client := newClient(t, mustNew(t, ratelimit.Config{Concurrent: 1, Messages: ratelimit.Rate{Count: 100, Per: time.Second}}),
			w.interceptor(func(context.Context, *core.Delivery) error {
				times = append(times, time.Now())
				return errArrived
			}))
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { send(t, t.Context(), client, message("me@example.com", 1)) })
		}
		group.Wait()
		within(t, "messages", times, ratelimit.Rate{Count: 1, Per: time.Second})
	})
}

func TestRefuseWhenTooManyAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{}
		client := newClient(t, mustNew(t, ratelimit.Config{Concurrent: 1, Refuse: true}), w.interceptor(arrived))
		var group sync.WaitGroup
		group.Go(func() { send(t, t.Context(), client, message("me@example.com", 1)) })
		synctest.Wait()
		receipt, err := client.Send(t.Context(), message("me@example.com", 1))
		limitError(t, receipt, err, 0)
		group.Wait()
		send(t, t.Context(), client, message("me@example.com", 1))
	})
}

// panicky is a body that panics as soon as it is asked for anything.
type panicky struct{}

func (panicky) Size() int64                                 { panic("size") }
func (panicky) Open(context.Context) (io.ReadCloser, error) { panic("open") }

func TestAPanicTakesNoPlaceAway(t *testing.T) {
	armed := false
	config := ratelimit.Config{
		Concurrent: 1, Bytes: ratelimit.Rate{Count: 1e6, Per: time.Second}, Refuse: true, Adaptive: true,
		Key: func(_ *core.Delivery, to core.Recipient) string {
			if armed {
				panic("key")
			}
			return to.Address
		},
		Notify: func(context.Context, ratelimit.Change) { panic("notify") },
	}
	server := &says{reply: always(slower)}
	for _, tt := range []struct {
		rule string
		end  core.Interceptor
		body core.Body
		seen bool // the panic is one of this interceptor's
	}{
		{"of the key, when the message is done", core.Interceptor{Name: "goal", Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(_ context.Context, d *core.Delivery) error {
				armed = true
				d.Refuse(0, &core.Error{Stage: core.StageMail, Class: core.Temporary, Reply: slower})
				return errArrived
			}
		}}, core.String("A: b\r\n"), true},
		{"of Notify", server.interceptor(), core.String("A: b\r\n"), false},
		{"of the body, which is not ours to name", new(goal).interceptor(), panicky{}, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			client := newClient(t, mustNew(t, config), tt.end)
			for range 2 {
				m := message("me@example.com", 2)
				m.Body = tt.body
				armed = false
				_, err := client.Send(t.Context(), m)
				if l, ok := errors.AsType[*ratelimit.LimitError](err); ok && l.Wait == 0 {
					t.Errorf("the place was not given back: %v", err)
				}
				if _, seen := errors.AsType[*core.PanicError](err); seen != tt.seen {
					t.Errorf("got %v, want a panic: %v", err, tt.seen)
				}
			}
		})
	}
}

package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
)

// After a thousand messages at once, with and without a deadline, cancelled and
// not, and with many more keys than are remembered, nothing is held any more.
func TestNothingIsLeftBehind(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("Refuse is %v", refuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLocal(Config{
					Messages: Rate{Count: 2, Per: time.Second}, Recipients: Rate{Count: 5, Per: time.Second, Burst: 3}, Bytes: Rate{Count: 1000, Per: time.Second},
					Concurrent: 2, MaxKeys: 10, Adaptive: true,
				})
				random := rand.New(rand.NewSource(1))
				var group sync.WaitGroup
				for range 1000 {
					r := Request{Refuse: refuse, Bytes: random.Int63n(500) - 1}
					for k := range 60 {
						if random.Intn(20) == 0 {
							r.Parts = append(r.Parts, Part{Key: fmt.Sprint(k), Recipients: random.Intn(5)})
						}
					}
					ctx, cancel := context.WithCancel(t.Context())
					switch random.Intn(3) {
					case 0:
						ctx, cancel = context.WithTimeout(ctx, time.Duration(random.Intn(60))*time.Second)
					case 1:
						time.AfterFunc(time.Duration(random.Intn(60))*time.Second, cancel)
					}
					arrives, takes := time.Duration(random.Intn(10_000))*time.Millisecond, time.Duration(random.Intn(1000))*time.Millisecond
					e := End{Transactions: random.Intn(3), Bytes: random.Int63n(1000)}
					if random.Intn(10) == 0 {
						e.Slower = make([]core.Reply, len(r.Parts))
						for k := range e.Slower {
							e.Slower[k].Code = 421
						}
					}
					group.Go(func() {
						defer cancel()
						<-time.After(arrives)
						if err := l.Take(ctx, r); err != nil {
							if _, ok := errors.AsType[*LimitError](err); !ok && ctx.Err() == nil {
								t.Error(err)
							}
							return
						}
						e.Began = time.Now()
						<-time.After(takes)
						l.Finish(ctx, r, e)
					})
				}
				group.Wait()
				idle := 0
				for b := l.buckets.idle.older; b != &l.buckets.idle; b = b.older {
					idle++
				}
				if len(l.buckets.byKey) != 10 || idle != 10 {
					t.Errorf("%d keys are remembered and %d are idle, want 10", len(l.buckets.byKey), idle)
				}
				for key, b := range l.buckets.byKey {
					if b.holders != 0 || b.running != 0 || b.queue.Len() != 0 || b.queued != (amount{}) {
						t.Errorf("key %s: %d hold it, %d are under way, %d wait for %v", key, b.holders, b.running, b.queue.Len(), b.queued)
					}
				}
			})
		})
	}
}

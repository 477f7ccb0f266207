package ratelimit

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/postrider/postrider/core"
)

// local is the limiter in this process.
type local struct {
	config Config

	// mu makes the limits of a message one: all that it needs is taken at once,
	// when it is there for all its keys.
	mu      sync.Mutex
	buckets buckets
}

func newLocal(c Config) *local {
	l := &local{config: c}
	if c.Recovery == 0 {
		l.config.Recovery = DefaultRecovery
	}
	l.buckets.init(&l.config)
	return l
}

// wants returns what the k-th part of a request takes.
func wants(r *Request, k int) amount {
	return amount{messages: 1, recipients: r.Parts[k].Recipients, octets: clamp(r.Bytes)}
}

func clamp(n int64) int { return int(min(max(n, 0), math.MaxInt32)) }

// Take implements [Limiter].
func (l *local) Take(ctx context.Context, r Request) error {
	if ctx.Err() != nil {
		return waiting(ctx)
	}
	var (
		few  [4]*bucket
		held = few[:0]
		d    time.Duration
		must bool // wait, for somebody else if not for d
	)
	l.mu.Lock()
	now := time.Now()
	changes := []Change(nil)
	for k := range r.Parts {
		b := l.buckets.hold(r.Parts[k].Key)
		held = append(held, b)
		changes = l.recover(b, now, changes)
		d = max(d, b.delay(now, b.queued, wants(&r, k)))
		must = must || b.queue.Len() > 0 || b.full(&l.config)
	}
	var err error
	var w *waiter
	if must = must || d > 0; !must {
		for k, b := range held {
			b.running++
			b.take(now, wants(&r, k))
		}
	} else if err = r.permits(ctx, d); err == nil {
		w = newWaiter(r, held)
	} else {
		for _, b := range held {
			l.buckets.release(b)
		}
	}
	l.mu.Unlock()
	l.notify(ctx, changes)
	if w != nil {
		return l.wait(ctx, w)
	}
	return err
}

// Finish implements [Finisher].
func (l *local) Finish(ctx context.Context, r Request, e End) {
	rest := amount{messages: max(e.Transactions-1, 0), octets: clamp(e.Bytes - max(r.Bytes, 0))}
	changes := []Change(nil)
	l.mu.Lock()
	var now time.Time
	if rest != (amount{}) || e.Slower != nil {
		now = time.Now()
	}
	for k := range r.Parts {
		b := l.buckets.byKey[r.Parts[k].Key]
		b.running--
		b.take(now, rest)
		if e.Slower != nil && e.Slower[k].Code != 0 && b.halve(&l.config, now, e.Began) {
			changes = append(changes, b.change(e.Slower[k]))
		}
		b.wake()
		l.buckets.release(b)
	}
	l.mu.Unlock()
	l.notify(ctx, changes)
}

// recover adds to changes, if the limits of a key rise.
func (l *local) recover(b *bucket, now time.Time, changes []Change) []Change {
	if b.recover(&l.config, now) {
		changes = append(changes, b.change(core.Reply{}))
	}
	return changes
}

// notify tells of changes. The lock is not held.
func (l *local) notify(ctx context.Context, changes []Change) {
	if l.config.Notify == nil || len(changes) == 0 {
		return
	}
	defer func() { _ = recover() }() // else what was taken would never be given back
	for _, c := range changes {
		l.config.Notify(ctx, c)
	}
}

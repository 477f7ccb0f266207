package ratelimit

import (
	"container/list"
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/postrider/postrider/core"
)

// How Adaptive changes the limits of a key.
const (
	leastFactor = 1.0 / 16
	step        = 1.0 / 16
	steps       = 8 // from a half to the whole
)

// What a bucket counts.
const (
	messages = iota
	recipients
	octets
	kinds
)

// amount is how many there are of each kind.
type amount [kinds]int

func (a *amount) add(b amount) {
	for i := range a {
		a[i] += b[i]
	}
}

func (a *amount) sub(b amount) {
	for i := range a {
		a[i] -= b[i]
	}
}

// bucket is the limits of one key. The lock of its [local] guards it.
type bucket struct {
	key     string
	limits  [kinds]*rate.Limiter // nil: no limit
	running int                  // messages under way

	queue  list.List // of *waiter, in the order of arrival
	queued amount    // what all of them want

	factor float64   // of the limits, see Change
	halved time.Time // when that was last halved,
	moved  time.Time // and when it was last changed

	holders        int     // messages under way and waiting
	older, younger *bucket // in idle, without any
}

// limiter returns what keeps to a rate.
func (r Rate) limiter() *rate.Limiter {
	if r.Count == 0 {
		return nil
	}
	return rate.NewLimiter(r.limit(), max(r.Burst, 1))
}

func (r Rate) limit() rate.Limit { return rate.Limit(float64(r.Count) / r.Per.Seconds()) }

// delay returns how long it is at the least until n may go, behind what is ahead
// of it.
func (b *bucket) delay(now time.Time, ahead, n amount) time.Duration {
	var longest time.Duration
	for i, l := range b.limits {
		if l == nil {
			continue
		}
		// What is more than a burst leaves a debt.
		missing := float64(ahead[i]) + float64(min(n[i], l.Burst())) - l.TokensAt(now)
		if missing <= 0 {
			continue
		}
		// Rounded up: to wake too early would be in vain.
		d := math.Ceil(missing / float64(l.Limit()) * float64(time.Second))
		longest = max(longest, time.Duration(min(d, math.MaxInt64/2)))
	}
	return longest
}

// take takes n, which may be more than there is: what lacks is owed.
func (b *bucket) take(now time.Time, n amount) {
	for i, l := range b.limits {
		switch {
		case l == nil || n[i] <= 0:
		case n[i] <= l.Burst():
			l.ReserveN(now, n[i])
		default:
			// A limiter hands out no more than its burst. Raising that for the
			// moment adds nothing to what there is.
			burst := l.Burst()
			l.SetBurstAt(now, n[i])
			l.ReserveN(now, n[i])
			l.SetBurstAt(now, burst)
		}
	}
}

// halve halves the limits, because of what the server said to a message that
// began at a time. It reports whether they are others now.
func (b *bucket) halve(c *Config, now, began time.Time) bool {
	if !began.After(b.halved) {
		return false // the server has not seen the effect of the last time yet
	}
	b.halved, b.moved = now, now
	for i, l := range b.limits {
		if l != nil {
			saved := amount{}
			saved[i] = max(int(l.TokensAt(now)), 0)
			b.take(now, saved)
		}
	}
	return b.setFactor(c, now, max(b.factor/2, leastFactor))
}

// recover raises the limits, if it is time. It reports whether they are others
// now.
func (b *bucket) recover(c *Config, now time.Time) bool {
	if b.factor == 1 {
		return false
	}
	every := max(c.Recovery/steps, 1)
	n := now.Sub(b.moved) / every
	if n <= 0 {
		return false
	}
	b.moved = b.moved.Add(n * every)
	return b.setFactor(c, now, min(b.factor+float64(n)*step, 1))
}

func (b *bucket) setFactor(c *Config, now time.Time, factor float64) bool {
	if factor == b.factor {
		return false
	}
	b.factor = factor
	for i, r := range [kinds]Rate{c.Messages, c.Recipients, c.Bytes} {
		if l := b.limits[i]; l != nil {
			l.SetLimitAt(now, r.limit()*rate.Limit(factor))
		}
	}
	return true
}

// change describes how the limits are now.
func (b *bucket) change(reply core.Reply) Change {
	return Change{Key: b.key, Factor: b.factor, Reply: reply}
}

// full reports whether as many messages are under way as may be.
func (b *bucket) full(c *Config) bool {
	return c.Concurrent > 0 && b.running >= max(int(float64(c.Concurrent)*b.factor), 1)
}

// wake has the first in the queue look again.
func (b *bucket) wake() {
	if first := b.queue.Front(); first != nil {
		select {
		case first.Value.(*waiter).wake <- struct{}{}:
		default: // it is about to
		}
	}
}

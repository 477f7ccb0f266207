package ratelimit

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/postrider/postrider/core"
)

// bucket is the limits of one key.
type bucket struct {
	// mu makes the two limits one: what the first grants and the second does
	// not is given back before anybody else can notice.
	mu                   sync.Mutex
	messages, recipients *rate.Limiter // nil: no limit
}

func newBucket(messages, recipients Rate) *bucket {
	return &bucket{messages: messages.limiter(), recipients: recipients.limiter()}
}

func (r Rate) limiter() *rate.Limiter {
	if r.Count == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(float64(r.Count)/r.Per.Seconds()), max(r.Burst, 1))
}

// Take implements [Limiter].
func (b *bucket) Take(ctx context.Context, r Request) error {
	if r.Refuse && b.recipients != nil && r.Recipients > b.recipients.Burst() {
		return &core.Error{Stage: core.StagePolicy, Class: core.Local,
			Err:  fmt.Errorf("%d recipients are more than the rate limit ever has at once, which is %d", r.Recipients, b.recipients.Burst()),
			Hint: "divide the message, raise Recipients.Burst, or let it wait"}
	}
	b.mu.Lock()
	now := time.Now()
	wait := max(delay(b.messages, now, r.Messages), delay(b.recipients, now, r.Recipients))
	if err := r.permits(ctx, wait); err != nil {
		b.mu.Unlock()
		return err
	}
	if wait == 0 {
		grant(b.messages, now, r.Messages)
		grant(b.recipients, now, r.Recipients)
		b.mu.Unlock()
		return nil
	}
	held := reserve(reserve(nil, b.messages, now, r.Messages), b.recipients, now, r.Recipients)
	b.mu.Unlock()

	err := sleep(ctx, wait)
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		now = time.Now()
		for _, h := range slices.Backward(held) {
			h.CancelAt(now)
		}
	}
	return err
}

// delay returns how long it is until n more have been paid for.
func delay(l *rate.Limiter, now time.Time, n int) time.Duration {
	if l == nil {
		return 0
	}
	missing := float64(n) - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	// Rounded up: to wake too early would exceed the limit.
	d := math.Ceil(missing / float64(l.Limit()) * float64(time.Second))
	return time.Duration(min(d, math.MaxInt64/2))
}

// grant takes n that are there.
func grant(l *rate.Limiter, now time.Time, n int) {
	if l != nil {
		l.AllowN(now, n)
	}
}

// reserve takes n that are not all there yet. A limiter hands out no more than
// its burst at a time.
func reserve(held []*rate.Reservation, l *rate.Limiter, now time.Time, n int) []*rate.Reservation {
	if l == nil {
		return held
	}
	for n > 0 {
		part := min(n, l.Burst())
		held = append(held, l.ReserveN(now, part))
		n -= part
	}
	return held
}

package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/postrider/postrider/core"
)

// worthwhile reports whether another try, after one that returned err, could
// change anything.
func worthwhile(ctx context.Context, d *core.Delivery, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if err != nil && core.ClassOf(err) == core.Local {
		return false
	}
	receipt := d.Receipt()
	// An interceptor between this one and the server may have stopped the try
	// before anybody got an outcome.
	stopped := err != nil && core.ClassOf(err) == core.Temporary && receipt.Count(core.Pending) > 0
	return stopped || receipt.Count(core.Deferred) > 0
}

// course is the retrying of one delivery.
type course struct {
	ctx  context.Context
	d    *core.Delivery
	next core.DeliverFunc

	tries int
	last  error // of the last try
	// said is what was last known of each recipient: the last error with a
	// reply, or the last one if no reply ever came.
	said []error
}

// again tries until nothing is left to try, or until it must stop. err is the
// error of the first try.
func (c *Config) again(ctx context.Context, d *core.Delivery, next core.DeliverFunc, err error) error {
	b := c.NewBackOff()
	if b == nil {
		return fmt.Errorf("retry: Config.NewBackOff returned nil: %w", err)
	}
	if c.Attempts > 0 {
		b = backoff.WithMaxRetries(b, uint64(c.Attempts-1))
	}
	limits := &limits{BackOff: b, ctx: ctx, started: d.Receipt().Started, elapsed: c.MaxElapsed}
	var timer backoff.Timer
	if c.NewTimer != nil {
		timer = c.NewTimer()
	}
	run := &course{ctx: ctx, d: d, next: next, last: err, said: make([]error, len(d.Message().To))}
	_ = backoff.RetryNotifyWithTimer(run.try, backoff.WithContext(limits, ctx), run.notify(c.Notify), timer)
	return run.conclude(limits.tooLate)
}

// try is one try. The first was made before the course began.
func (c *course) try() error {
	if c.tries > 0 {
		if c.ctx.Err() != nil {
			return backoff.Permanent(c.last)
		}
		c.last = c.next(c.ctx, c.d)
	}
	c.tries++
	switch {
	case worthwhile(c.ctx, c.d, c.last):
		c.remember()
		if c.last == nil {
			return errDeferred
		}
		return c.last
	case c.last != nil:
		return backoff.Permanent(c.last)
	}
	return nil
}

// errDeferred stands in for the error of a try that left recipients deferred
// and returned none, which an interceptor may do.
var errDeferred = errors.New("deferred")

// notify adapts the caller's hook.
func (c *course) notify(f func(context.Context, Pause)) backoff.Notify {
	if f == nil {
		return nil
	}
	return func(err error, wait time.Duration) {
		receipt := c.d.Receipt()
		f(c.ctx, Pause{Attempt: c.tries, Wait: wait, Err: err, Recipients: receipt.Count(core.Deferred) + receipt.Count(core.Pending)})
	}
}

// remember keeps what was said about those who are to be tried again: the core
// forgets it when the next try brings another error.
func (c *course) remember() {
	for i := range c.said {
		r := &c.d.Receipt().Recipients[i]
		if r.Outcome == core.Deferred && (r.Reply.Code != 0 || !hasReply(c.said[i])) {
			c.said[i] = r.Err
		}
	}
}

// hasReply reports whether err holds what a server said.
func hasReply(err error) bool {
	e, ok := errors.AsType[*core.Error](err)
	return ok && e.Reply.Code != 0
}

package retry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/postrider/postrider/core"
)

// worthwhile reports whether another try, after one that returned err, could
// change anything.
func (c *Config) worthwhile(ctx context.Context, d *core.Delivery, err error) bool {
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
	return stopped || slices.ContainsFunc(receipt.Recipients, c.left)
}

// left reports whether a recipient that was tried is to be tried again.
func (c *Config) left(r core.RecipientResult) bool {
	return r.Outcome == core.Deferred || c.RetryRefused != nil && r.Outcome == core.Refused && r.Reply.Permanent() && c.RetryRefused(r)
}

// course is the retrying of one delivery.
type course struct {
	config *Config
	ctx    context.Context
	d      *core.Delivery
	next   core.DeliverFunc

	tries int
	last  error // of the last try
	// said is what was last known of each recipient: the last error with a
	// reply, or the last one if no reply ever came.
	said []error
}

// again tries until nothing is left to try, or until it must stop. err is the
// error of the first try.
func (c *Config) again(ctx context.Context, d *core.Delivery, next core.DeliverFunc, err error, budget *budget) error {
	b := c.NewBackOff()
	if b == nil {
		return fmt.Errorf("retry: Config.NewBackOff returned nil: %w", err)
	}
	if c.Attempts > 0 {
		b = backoff.WithMaxRetries(b, uint64(c.Attempts-1))
	}
	run := &course{config: c, ctx: ctx, d: d, next: next, last: err, said: make([]error, len(d.Message().To))}
	limits := &limits{BackOff: b, course: run, budget: budget}
	var timer backoff.Timer
	if c.NewTimer != nil {
		timer = c.NewTimer()
	}
	_ = backoff.RetryNotifyWithTimer(run.try, backoff.WithContext(limits, ctx), run.notify(c.Notify), timer)
	return run.conclude(limits.why)
}

// try is one try. The first was made before the course began.
func (c *course) try() error {
	if c.tries > 0 {
		if c.ctx.Err() != nil {
			return backoff.Permanent(c.last)
		}
		c.reopen()
		c.last = c.next(c.ctx, c.d)
	}
	c.tries++
	switch {
	case c.config.worthwhile(c.ctx, c.d, c.last):
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
		p := Pause{Attempt: c.tries, Wait: wait, Err: err, Recipients: receipt.Count(core.Pending)}
		for _, r := range receipt.Recipients {
			if c.config.left(r) {
				p.Recipients++
			}
		}
		f(c.ctx, p)
	}
}

// remember keeps what was said about those who are to be tried again: the core
// forgets it when the next try brings another error.
func (c *course) remember() {
	for i := range c.said {
		r := &c.d.Receipt().Recipients[i]
		if c.config.left(*r) && (r.Reply.Code != 0 || !hasReply(c.said[i])) {
			c.said[i] = r.Err
		}
	}
}

// reopen has those tried again who were refused: the core tries whoever is
// Deferred. What was refused stays known, see remember.
func (c *course) reopen() {
	for i := range c.said {
		if r := &c.d.Receipt().Recipients[i]; r.Outcome == core.Refused && c.config.left(*r) {
			c.d.Refuse(i, &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: fmt.Errorf("to be tried again: %w", r.Err)})
		}
	}
}

// hasReply reports whether err holds what a server said.
func hasReply(err error) bool {
	e, ok := errors.AsType[*core.Error](err)
	return ok && e.Reply.Code != 0
}

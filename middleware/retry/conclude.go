package retry

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/core"
)

// conclude settles the receipt when there will be no further try: a recipient
// keeps the last reply that it had from the server, joined with why there was
// no better one after it. It returns the error of the delivery.
func (c *course) conclude(why error) error {
	switch {
	case c.ctx.Err() != nil:
		why = contextError(c.ctx)
	case why == nil && !c.settled():
		why = c.last
	}
	for i := range c.said {
		r := &c.d.Receipt().Recipients[i]
		spent := errors.Is(r.Err, core.ErrOneShot)
		if c.said[i] == nil || !c.config.left(*r) && !spent {
			continue
		}
		err := r.Err
		switch {
		case errors.Is(err, c.said[i]):
			err = c.said[i] // nothing has come after it
		case spent || r.Reply.Code == 0 && hasReply(c.said[i]):
			err = fmt.Errorf("%w; then: %w", c.said[i], err)
		}
		if err = notAgain(err, why); err != r.Err {
			c.d.Refuse(i, err) // what it makes of the recipient is up to the first error in err
		}
	}
	return notAgain(c.last, why)
}

// settled reports whether the last try's error is that of a recipient, and not
// of an interceptor that stopped the try.
func (c *course) settled() bool {
	if c.last == nil {
		return true
	}
	for i := range c.said {
		if errors.Is(c.d.Receipt().Recipients[i].Err, c.last) {
			return true
		}
	}
	return false
}

// notAgain joins why nothing was tried any more to what was said before, which
// stays the first that errors.As finds.
func notAgain(said, why error) error {
	if said == nil || why == nil || errors.Is(said, why) {
		return said
	}
	return fmt.Errorf("%w; not tried again: %w", said, why)
}

// contextError returns why ctx ended, so that errors.Is finds both the context's
// own error and the caller's cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) || errors.Is(err, cause) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/postrider/postrider/core"
)

// limits makes a series of waits as long as servers ask for, and ends it where
// the next one would be in vain, or would be one too many.
type limits struct {
	backoff.BackOff
	course *course
	budget *budget

	why error // why the series has ended, if not by itself
}

// NextBackOff implements [backoff.BackOff].
func (l *limits) NextBackOff() time.Duration {
	wait := l.BackOff.NextBackOff()
	if wait == backoff.Stop {
		return wait
	}
	asked, err := l.asked()
	if err == nil {
		wait = max(wait, asked)
		err = l.tooLong(wait)
	}
	if err == nil && !l.budget.take(time.Now()) {
		err = ErrBudget
	}
	if err != nil {
		l.why = err
		return backoff.Stop
	}
	return wait
}

// asked returns the longest wait that was asked for and fits, or why none does
// though all who are left have asked for one.
func (l *limits) asked() (longest time.Duration, err error) {
	others := false
	look := func(r core.Reply, why error) {
		wait := stated(r, why)
		if wait == 0 {
			others = true
			if greylisted(r) && l.bounded() && l.tooLong(l.course.config.GreylistInterval) == nil {
				longest = max(longest, l.course.config.GreylistInterval)
			}
			return
		}
		e := l.tooLong(wait)
		if e == nil && !l.bounded() && wait > l.course.config.MaxInterval {
			e = fmt.Errorf("the next try is due in %v, which is longer than MaxInterval: give the context a deadline, or set MaxElapsed", wait)
		}
		if e != nil {
			err = e
			return
		}
		others = true
		longest = max(longest, wait)
	}
	for _, r := range l.course.d.Receipt().Recipients {
		switch {
		case l.course.config.left(r):
			look(r.Reply, r.Err)
		case r.Outcome == core.Pending:
			look(core.Reply{}, l.course.last)
		}
	}
	if others {
		err = nil
	}
	return longest, err
}

// bounded reports whether anybody has said how long Send may take.
func (l *limits) bounded() bool {
	_, deadline := l.course.ctx.Deadline()
	return deadline || l.course.config.MaxElapsed > 0
}

// tooLong says why there is no time for a wait and a try behind it.
func (l *limits) tooLong(wait time.Duration) error {
	elapsed := l.course.config.MaxElapsed
	if elapsed > 0 && time.Since(l.course.d.Receipt().Started)+wait > elapsed {
		return errElapsed
	}
	if deadline, ok := l.course.ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return fmt.Errorf("the next try is due in %v: %w before that", wait, context.DeadlineExceeded)
	}
	return nil
}

var errElapsed = errors.New("the next try would begin after MaxElapsed")

package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limiter decides when a message may go on. Implementations are safe for
// concurrent use.
type Limiter interface {
	// Take takes what a request asks for and returns nil, after a wait if need
	// be. An error means that nothing was taken. Unless it is an [*core.Error]
	// already, it becomes a temporary one of the delivery; a limiter that would
	// rather let messages pass when it is out of order returns nil.
	//
	// One that can only say "not yet, ask again in d" calls [Request.Wait] and
	// asks again.
	Take(ctx context.Context, r Request) error
}

// Request is what one try of a message asks for.
type Request struct {
	// Key is what Config.Key returned, or "".
	Key string
	// Messages is 1, and Recipients is how many of its recipients are tried.
	Messages, Recipients int
	// Refuse says that the message must not wait.
	Refuse bool
}

// Wait waits for d, or says why that must not be: with Refuse set, and when ctx
// would end before, it returns a [*LimitError] at once. When ctx ends during the
// wait, the error is the context's.
func (r Request) Wait(ctx context.Context, d time.Duration) error {
	if err := r.permits(ctx, d); err != nil {
		return err
	}
	return sleep(ctx, d)
}

// permits reports why the request must not wait for d.
func (r Request) permits(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return waiting(ctx)
	}
	if d <= 0 {
		return nil
	}
	if r.Refuse {
		return &LimitError{Wait: d}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return &LimitError{Wait: d, Err: context.DeadlineExceeded}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return waiting(ctx)
	}
}

// waiting explains that ctx has ended, so that errors.Is finds both the
// context's own error and the caller's cause.
func waiting(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return fmt.Errorf("waiting for the rate limit: %w", err)
	}
	return fmt.Errorf("waiting for the rate limit: %w: %w", err, cause)
}

// LimitError says that a message is over the limit and did not wait.
type LimitError struct {
	// Wait is how long it would have had to.
	Wait time.Duration
	// Err is context.DeadlineExceeded if it did not wait because the context
	// ends before, and nil if it was not to wait at all.
	Err error
}

// Error says how long the wait would have been, and why there was none.
func (e *LimitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("over the rate limit: the next is due in %v", e.Wait)
	}
	return fmt.Sprintf("over the rate limit: the next is due in %v: %v before that", e.Wait, e.Err)
}

// Unwrap returns Err.
func (e *LimitError) Unwrap() error { return e.Err }

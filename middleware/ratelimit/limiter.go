package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/core"
)

// Limiter decides when a message may go on. Implementations are safe for
// concurrent use. One that wants to know how it went is a [Finisher] as well.
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

// Finisher is implemented by a [Limiter] that limits how many messages are under
// way at a time, counts content whose size is not known beforehand, or follows
// what the server says.
type Finisher interface {
	// Finish is called once for each Take that returned nil, when the message is
	// no longer under way. Its context may have ended: what Finish has to send
	// somewhere, it sends with context.WithoutCancel and a deadline of its own.
	Finish(ctx context.Context, r Request, e End)
}

// Request is what one try of a message asks for. A limiter must not keep it.
type Request struct {
	// Parts is what the message counts as, in the order of the keys, and each
	// key once: as one message under each. There is one part at least.
	Parts []Part
	// Bytes is the size of the content in octets, or -1 if that is not known.
	Bytes int64
	// Refuse says that the message must not wait.
	Refuse bool
}

// Part is what a message counts as under one key.
type Part struct {
	// Key is what Config.Key returned, or "".
	Key string
	// Recipients is how many recipients with that key are tried.
	Recipients int
}

// End is how a try ended.
type End struct {
	// Began is when it had been let through.
	Began time.Time
	// Transactions is how many there were: none if no session could be had,
	// several if the server takes fewer recipients at once than there were.
	Transactions int
	// Bytes is how many octets of content all of them had, as far as that is
	// known: see [core.Attempt.ContentSize].
	Bytes int64
	// Slower has, for each of the request's parts, the reply in which the server
	// asked to come slower. Its Code is zero if it did not. Slower is nil if it
	// asked it for none.
	Slower []core.Reply
}

// Wait waits for d, or says why that must not be: with Refuse set, and when ctx
// would end before, it returns a [*LimitError] at once. When ctx ends during the
// wait, the error is the context's.
func (r Request) Wait(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return waiting(ctx)
	}
	if d <= 0 {
		return nil
	}
	if err := r.permits(ctx, d); err != nil {
		return err
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

// permits reports why the request must not wait for d. Zero means that it is not
// known how long it is.
func (r Request) permits(ctx context.Context, d time.Duration) error {
	if r.Refuse {
		return &LimitError{Wait: d}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return &LimitError{Wait: d, Err: context.DeadlineExceeded}
	}
	return nil
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
	// Wait is how long it would have had to, at the least. It is zero if that
	// depends on when other messages are done.
	Wait time.Duration
	// Err is context.DeadlineExceeded if it did not wait because the context
	// ends before, and nil if it was not to wait at all.
	Err error
}

// Error says how long the wait would have been, and why there was none.
func (e *LimitError) Error() string {
	switch {
	case e.Wait == 0:
		return "over the rate limit: too many messages are under way"
	case e.Err == nil:
		return fmt.Sprintf("over the rate limit: the next is due in %v", e.Wait)
	}
	return fmt.Sprintf("over the rate limit: the next is due in %v: %v before that", e.Wait, e.Err)
}

// Unwrap returns Err.
func (e *LimitError) Unwrap() error { return e.Err }

// RetryAfter returns Wait: when to come back, for a retry.
func (e *LimitError) RetryAfter() time.Duration { return e.Wait }

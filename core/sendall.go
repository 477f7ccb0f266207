package core

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"
)

// Result is what became of one message of [Client.SendAll].
type Result struct {
	// Index is the message's place in the sequence; the first has 0.
	Index int
	// Message is the one that was sent.
	Message *Message
	// Receipt and Err are what [Client.Send] returns: there is no receipt if
	// Message is nil.
	Receipt *Receipt
	Err     error
}

// SendAll sends the messages of a sequence, several at a time: as many as
// MaxSessions times PipelineDepth allow, with each endpoint. It calls each, if that is not nil, with
// one result for every message that it took from the sequence, in the order of
// completion, one call at a time, from goroutines of its own; it has returned
// from all of them when SendAll returns.
//
// A message that is not accepted stops nothing. When ctx ends, or the client is
// closed, no further message is taken, but for the one that the sequence is about
// to yield, and those under way end as those of Send do. The error is nil if the
// sequence was sent to its end and each message was accepted for all its
// recipients. Otherwise it counts those that were not, and reaches the error of
// the first of them, and that of the context.
//
// SendAll may be called concurrently. A panic in each is repeated in SendAll's
// caller, when what was under way has ended.
func (c *Client) SendAll(ctx context.Context, messages iter.Seq[*Message], each func(Result)) error {
	b := batch{client: c, ctx: ctx, each: each, jobs: make(chan Result), stop: make(chan struct{})}
	b.run(messages)
	if b.panicked != nil {
		panic(b.panicked)
	}
	return b.err()
}

// batch is one SendAll.
type batch struct {
	client *Client
	ctx    context.Context
	each   func(Result)
	jobs   chan Result // results that are still to come about
	stop   chan struct{}

	mu       sync.Mutex // held while each runs
	taken    int
	whole    bool // the sequence has come to its end
	failed   int
	first    error // of a message
	panicked *PanicError
	stopped  bool
}

// run takes the messages and has workers send them. More workers are started
// only when a message finds none that is idle.
func (b *batch) run(messages iter.Seq[*Message]) {
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(b.jobs)
	if b.ctx.Err() != nil {
		return
	}
	most := 0
	for _, p := range b.client.endpoints.pools {
		most += p.settings.MaxSessions * max(p.settings.PipelineDepth, 1)
	}
	for m := range messages {
		job := Result{Index: b.taken, Message: m}
		b.taken++
		if !b.hand(job, &workers, &most) || b.ctx.Err() != nil || b.client.endpoints.isClosed() {
			return
		}
	}
	b.whole = true
}

// hand gives a message to an idle worker, or to a new one if there may be
// another, or waits. It reports false if nobody is to send it any more.
func (b *batch) hand(job Result, workers *sync.WaitGroup, most *int) bool {
	select {
	case <-b.stop:
		return false
	default:
	}
	select {
	case b.jobs <- job:
		return true
	default:
	}
	if *most > 0 {
		*most--
		workers.Go(func() { b.work(job) })
		return true
	}
	select {
	case b.jobs <- job:
		return true
	case <-b.stop:
		return false
	}
}

// work sends one message after the other.
func (b *batch) work(job Result) {
	for ok := true; ok; job, ok = <-b.jobs {
		job.Receipt, job.Err = b.client.Send(b.ctx, job.Message)
		if !b.report(job) {
			return
		}
	}
}

// report hands a result to the caller. It reports whether to go on.
func (b *batch) report(r Result) (ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return false
	}
	if r.Err != nil {
		if b.failed++; b.first == nil {
			b.first = fmt.Errorf("message %d: %w", r.Index, r.Err)
		}
	}
	if b.each == nil {
		return true
	}
	defer func() {
		if ok {
			return
		}
		// A panic, or runtime.Goexit, which is what testing's FailNow calls.
		b.stopped = true
		close(b.stop)
		if v := recover(); v != nil {
			b.panicked = &PanicError{Where: "the function that takes results", Value: v, Stack: debug.Stack()}
		}
	}()
	b.each(r)
	return true
}

func (b *batch) err() error {
	var errs []error
	switch {
	case b.whole:
	case b.stopped:
		errs = append(errs, errors.New("the sequence was not sent to its end: the function that takes results did not return"))
	case b.ctx.Err() == nil:
		errs = append(errs, fmt.Errorf("the sequence was not sent to its end: %w", errClientClosed()))
	default:
		errs = append(errs, fmt.Errorf("the sequence was not sent to its end: %w", contextError(b.ctx)))
	}
	if b.failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d messages were not accepted for all recipients; the first: %w", b.failed, b.taken, b.first))
	}
	return errors.Join(errs...)
}

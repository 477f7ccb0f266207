package ratelimit

import (
	"container/list"
	"context"
	"slices"
	"time"
)

// waiter is a message that waits for its turn. It stands in the queue of each of
// its keys, and takes what it needs itself, when it is the first in all of them.
// Whoever came first is, so nobody waits for ever.
type waiter struct {
	request Request
	held    []*bucket
	places  []*list.Element
	wake    chan struct{} // it has become the first somewhere, or things have changed there
}

// newWaiter puts a message into its queues. The lock is held.
func newWaiter(r Request, held []*bucket) *waiter {
	w := &waiter{request: r, held: slices.Clone(held), wake: make(chan struct{}, 1)}
	w.request.Parts = slices.Clone(r.Parts)
	w.wake <- struct{}{} // the first look says how long to wait
	for k, b := range w.held {
		w.places = append(w.places, b.queue.PushBack(w))
		b.queued.add(wants(&r, k))
	}
	return w
}

// leave takes the message out of its queues. The lock is held.
func (w *waiter) leave() {
	for k, b := range w.held {
		b.queue.Remove(w.places[k])
		b.queued.sub(wants(&w.request, k))
		b.wake()
	}
}

// wait returns nil when w has what it wants.
func (l *local) wait(ctx context.Context, w *waiter) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		d, turn, err := l.look(ctx, w)
		if err != nil || turn && d == 0 {
			return err
		}
		if turn {
			timer.Reset(d)
			due = timer.C
		}
		select {
		case <-due:
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}

// look takes what w wants, if that is there, and returns zero. If only time has
// to pass, it returns how much; if others have to go first, it is not its turn.
// With an error, w is out of the queue.
func (l *local) look(ctx context.Context, w *waiter) (d time.Duration, turn bool, err error) {
	l.mu.Lock()
	now := time.Now()
	changes := []Change(nil)
	defer func() {
		l.mu.Unlock()
		l.notify(ctx, changes)
	}()
	turn = true
	for k, b := range w.held {
		changes = l.recover(b, now, changes)
		turn = turn && b.queue.Front() == w.places[k] && !b.full(&l.config)
		d = max(d, b.delay(now, amount{}, wants(&w.request, k)))
	}
	switch {
	case ctx.Err() != nil:
		err = waiting(ctx)
	case turn && d > 0:
		err = w.request.permits(ctx, d)
	}
	switch {
	case err != nil:
		w.leave()
		for _, b := range w.held {
			l.buckets.release(b)
		}
	case turn && d == 0:
		w.leave()
		for k, b := range w.held {
			b.running++
			b.take(now, wants(&w.request, k))
		}
	case turn:
		d = l.untilChange(w, now, d)
	}
	return d, turn, err
}

// untilChange returns d, or how long it is until the limits of a key rise if
// that is sooner.
func (l *local) untilChange(w *waiter, now time.Time, d time.Duration) time.Duration {
	for _, b := range w.held {
		if b.factor < 1 {
			d = min(d, b.moved.Add(max(l.config.Recovery/steps, 1)).Sub(now))
		}
	}
	return d
}

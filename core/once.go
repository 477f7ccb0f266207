package core

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// once enforces that an interceptor calls next once and in time, and that nobody
// goes on with the result while next is still running. It is part of the value
// that is passed down a chain.
type once struct {
	running sync.Mutex // held where the chain ends, from begin to finish
	state   onceState
	often   bool // next may be called again, and need not be called

	// Which interceptors of the chain have called next, and which have returned,
	// a bit each, so that an error can name them. Those behind the 64th are held
	// to the rules all the same, without a name.
	called, returned atomic.Uint64
	skipped          atomic.Pointer[string] // the name of one that did not call next
}

type onceState uint8

const (
	onceNew onceState = iota
	onceBegun
	onceEnded
)

const onceHint = "an interceptor calls next at most once, before it returns"

func bitOf(n int) uint64 { return 1 << uint(n) }

// enter is called when the n-th interceptor of a chain is.
func (o *once) enter(n int) {
	o.called.And(^bitOf(n))
	o.returned.And(^bitOf(n))
}

// pass is called by next of the n-th interceptor. The error says that it must
// not be called.
func (o *once) pass(n int, where string) error {
	err := ErrNextTwice
	switch bit := bitOf(n); {
	case o.returned.Load()&bit != 0:
		err = ErrNextLate
	case o.called.Or(bit)&bit == 0 || o.often:
		return nil
	}
	return localError(StagePolicy, fmt.Errorf("%s: %w", where, err), onceHint)
}

// leave is called when the n-th interceptor has returned, with err. The error is
// that, or says that next was never called.
func (o *once) leave(n int, where *string, err error) error {
	bit := bitOf(n)
	o.returned.Or(bit)
	if err != nil || o.called.Load()&bit != 0 || bit == 0 {
		return err
	}
	if o.often {
		o.skipped.Store(where)
		return nil
	}
	return localError(StagePolicy, fmt.Errorf("%s %w", *where, ErrNextSkipped), "return an error to refuse the work")
}

// begin is called where the chain ends: by next of the last interceptor. If it
// returns nil, finish is due.
func (o *once) begin(kind string) error {
	o.running.Lock()
	if o.state == onceNew {
		o.state = onceBegun
		return nil
	}
	defer o.running.Unlock()
	err := ErrNextTwice
	if o.state == onceEnded {
		err = ErrNextLate
	}
	return localError(StagePolicy, fmt.Errorf("%w in the %s chain", err, kind), onceHint)
}

func (o *once) finish() { o.running.Unlock() }

// end is called when the whole chain has returned, with err. If an interceptor
// has returned while next is running, what runs is interrupted and waited for. A
// later begin fails. The error says also that next was never called.
func (o *once) end(kind string, err error, interrupt func()) error {
	if !o.running.TryLock() {
		interrupt()
		o.running.Lock()
	}
	defer o.running.Unlock()
	begun := o.state == onceBegun
	o.state = onceEnded
	if err == nil && !begun {
		err = localError(StagePolicy, fmt.Errorf("an interceptor in the %s chain %w", kind, ErrNextSkipped), "return an error to refuse the work")
	}
	return err
}

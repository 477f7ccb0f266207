package core

import (
	"fmt"
	"sync"
)

// once enforces that an interceptor calls next once and in time, and that nobody
// goes on with the result while next is still running. It is part of the value
// that is passed down a chain.
type once struct {
	running sync.Mutex // held where the chain ends, from begin to finish
	state   onceState
}

type onceState uint8

const (
	onceNew onceState = iota
	onceBegun
	onceEnded
)

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
	return localError(StagePolicy, fmt.Errorf("%w in the %s chain", err, kind), "an interceptor calls next at most once, before it returns")
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

package core

import (
	"fmt"
	"sync/atomic"
)

// once enforces that an interceptor calls next once and in time. It is part of
// the value that is passed down a chain.
type once struct {
	state atomic.Uint32 // onceNew, onceBegun, onceEnded
}

const (
	onceNew = iota
	onceBegun
	onceEnded
)

// begin is called where the chain ends: by next of the last interceptor.
func (o *once) begin(kind string) error {
	if o.state.CompareAndSwap(onceNew, onceBegun) {
		return nil
	}
	err := ErrNextTwice
	if o.state.Load() == onceEnded {
		err = ErrNextLate
	}
	return localError(StagePolicy, fmt.Errorf("%w in the %s chain", err, kind), "an interceptor calls next at most once, before it returns")
}

// end is called when the whole chain has returned success. Its error says that
// next was never called.
func (o *once) end(kind string) error {
	if o.state.Swap(onceEnded) == onceBegun {
		return nil
	}
	return localError(StagePolicy, fmt.Errorf("an interceptor in the %s chain %w", kind, ErrNextSkipped), "return an error to refuse the work")
}

// close makes a later begin fail, however the chain ended.
func (o *once) close() { o.state.Store(onceEnded) }

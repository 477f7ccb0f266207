package main

import (
	"context"
	"sync"
	"time"
)

// store remembers what became of claims. It is safe for concurrent use. One that
// several processes share does each method in a single step: in Redis claim is
// SET with NX, GET and a time to live, settle is SET with a time to live, or DEL.
type store interface {
	// claim returns what a claim is, and if that is free makes it running.
	claim(ctx context.Context, claim string) (was state, err error)
	// settle says what has become of a running one. That is kept for some time,
	// and then the claim is free again. One that is never settled, because its
	// process has died, is kept for no less: nobody knows whether it was sent.
	settle(ctx context.Context, claim string, became state) error
}

// state is what has become of a claim.
type state uint8

const (
	free    state = iota // nobody has it
	running              // it is being sent
	sent                 // it was accepted
	inDoubt              // it was sent, and may have been accepted
)

// memory is a store in this process.
type memory struct {
	ttl time.Duration // how long what was settled is kept

	mu     sync.Mutex
	states map[string]state
	ends   []end // in order of time
}

// end is when a settled claim is forgotten.
type end struct {
	at    time.Time
	claim string
}

// newMemory returns a store that keeps what was settled for a time.
func newMemory(ttl time.Duration) *memory {
	return &memory{ttl: ttl, states: map[string]state{}}
}

func (m *memory) claim(_ context.Context, claim string) (was state, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.ends) > 0 && !time.Now().Before(m.ends[0].at) {
		delete(m.states, m.ends[0].claim)
		m.ends = m.ends[1:]
	}
	if was = m.states[claim]; was == free {
		m.states[claim] = running
	}
	return was, nil
}

func (m *memory) settle(_ context.Context, claim string, became state) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if became == free {
		delete(m.states, claim)
		return nil
	}
	m.states[claim] = became
	m.ends = append(m.ends, end{time.Now().Add(m.ttl), claim})
	return nil
}

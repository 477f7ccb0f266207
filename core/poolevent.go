package core

import "time"

// PoolEvent is something that happened to the sessions of a client.
type PoolEvent struct {
	Kind     PoolEventKind
	Endpoint Endpoint
	// Peer is what is known of the session's server. It is nil for
	// SessionFailed and MessageWaited.
	Peer *Peer
	// Waited is how long a message has waited, for MessageWaited.
	Waited time.Duration
	// Err is why a session could not be opened, or why a message got none.
	Err error
}

// PoolEventKind is what has happened.
type PoolEventKind uint8

const (
	// SessionOpened: there is a new session. It is idle.
	SessionOpened PoolEventKind = iota + 1
	// SessionFailed: one could not be opened.
	SessionFailed
	// SessionTaken: an idle session is in use, by one message or by several.
	SessionTaken
	// SessionReturned: a session that was in use is idle.
	SessionReturned
	// SessionEnded: an idle session was closed, by either side.
	SessionEnded
	// MessageWaited: a message has waited for a session, for one to be opened
	// say, and has got it, or has given up.
	MessageWaited
)

// String returns "opened", "failed", "taken", "returned", "ended" or "waited".
func (k PoolEventKind) String() string {
	return [...]string{"unknown", "opened", "failed", "taken", "returned", "ended", "waited"}[min(k, MessageWaited)]
}

// note has an event told when the lock is given up.
func (p *pool) note(e PoolEvent) {
	if len(p.pipeline.pool) > 0 {
		e.Endpoint = p.settings.endpoint
		p.events = append(p.events, e)
	}
}

// unlock gives up the lock and tells what has happened meanwhile, in order. Who
// is at it already tells that, too.
func (p *pool) unlock() {
	for len(p.events) > 0 && !p.telling {
		events := p.events
		p.events, p.telling = nil, true
		p.mu.Unlock()
		for _, e := range events {
			for _, tell := range p.pipeline.pool {
				tell(e)
			}
		}
		p.mu.Lock()
		p.telling = false
		p.changed.Broadcast()
	}
	p.mu.Unlock()
}

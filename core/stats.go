package core

import "time"

// Stats is what a client's pool of sessions is doing, and what it has done.
type Stats struct {
	// MaxSessions is how many sessions there may be.
	MaxSessions int
	// Open is how many there are: Idle ones, those InUse, and those that are
	// being opened (Opening) or closed.
	Open, Idle, InUse, Opening int
	// Messages is how many messages have a session, of which several may share
	// one.
	Messages int
	// Waiting is how many messages wait for a session.
	Waiting int

	// Since the client was made: how many sessions were Opened, how many could
	// not be (Failed), and how many have ended (Closed).
	Opened, Failed, Closed int64
	// Waits is how many messages had to wait for a session, which includes
	// waiting for a new one to be opened, and Waited for how long in all.
	Waits  int64
	Waited time.Duration
}

// Stats returns the statistics of the client's sessions, with all endpoints
// together. It costs little and may be called at any time.
func (c *Client) Stats() Stats {
	var all Stats
	for _, p := range c.endpoints.pools {
		s := p.snapshot()
		all.MaxSessions += s.MaxSessions
		all.Open += s.Open
		all.Idle += s.Idle
		all.InUse += s.InUse
		all.Opening += s.Opening
		all.Messages += s.Messages
		all.Waiting += s.Waiting
		all.Opened += s.Opened
		all.Failed += s.Failed
		all.Closed += s.Closed
		all.Waits += s.Waits
		all.Waited += s.Waited
	}
	return all
}

// EndpointStats is what a client is doing with one of its endpoints.
type EndpointStats struct {
	Endpoint Endpoint
	// State is how the breaker finds it; closed if there is none.
	State BreakerState
	Stats
}

// Endpoints returns the statistics of each endpoint, in the order of the
// configuration.
func (c *Client) Endpoints() []EndpointStats {
	var list []EndpointStats
	for _, p := range c.endpoints.pools {
		list = append(list, EndpointStats{p.settings.endpoint, p.state(), p.snapshot()})
	}
	return list
}

func (p *pool) snapshot() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Open, s.Idle, s.Opening, s.Waiting = p.open, len(p.idle), len(p.dials), len(p.waiting)
	for session := range p.live {
		if session.users > 0 {
			s.InUse++
			s.Messages += session.users
		}
	}
	return s
}

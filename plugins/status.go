package plugins

import (
	"fmt"
	"time"
)

// State is what a plugin does.
type State uint8

const (
	// Starting: a process was started, and does not serve yet.
	Starting State = iota + 1
	// Ready: the plugin can be used.
	Ready
	// BackingOff: the process is gone, and another one will be started.
	BackingOff
	// Disabled: the budget of restarts is used up, or the plugin is no longer what it
	// was. Only Enable starts it again.
	Disabled
	// Closed: Close was called, or the plugin could not be started.
	Closed
)

// String returns "starting", "ready", "backing off", "disabled" or "closed".
func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case Ready:
		return "ready"
	case BackingOff:
		return "backing off"
	case Disabled:
		return "disabled"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Status is how a plugin is.
type Status struct {
	// State is what it does.
	State State
	// PID is the number of its process, or zero.
	PID int
	// Restarts is how many processes there were before this one.
	Restarts int
	// Err is why the last process ended, or could not be started. It is nil while
	// the plugin is ready.
	Err error
	// Next is how long it is from the change to BackingOff to the next process.
	Next time.Duration
}

// Status returns how the plugin is now.
func (p *Plugin) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// set changes the status. It is called by one goroutine at a time.
func (p *Plugin) set(s Status) {
	s.Restarts = max(0, p.generations-1)
	p.mu.Lock()
	p.status = s
	p.mu.Unlock()
	log := p.lines.log
	switch {
	case s.State == Disabled:
		log.Error("the plugin is disabled", "error", s.Err)
	case s.Err != nil:
		log.Warn("the plugin is "+s.State.String(), "error", s.Err, "next", s.Next)
	case s.PID != 0:
		log.Info("the plugin is "+s.State.String(), "pid", s.PID)
	default:
		log.Info("the plugin is " + s.State.String())
	}
	if p.config.Observe != nil {
		p.config.Observe(s)
	}
}

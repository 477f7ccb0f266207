package core

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// alarm interrupts a connection on which one wait has taken too long. It does
// what deadlines do, for less: a deadline moves a timer at every wait, and this
// one only when a wait is to end before the timer fires. One goroutine at a time
// waits.
type alarm struct {
	conn net.Conn
	base time.Time
	// end is when the wait under way has taken too long, in nanoseconds since
	// base: 0 if there is none, and gone if the alarm has gone off.
	end atomic.Int64
	// set is when the timer fires, or 0.
	set atomic.Int64

	mu    sync.Mutex // held while the timer is set or goes off
	timer *time.Timer
}

const gone = -1

func newAlarm(conn net.Conn) *alarm { return &alarm{conn: conn, base: time.Now()} }

// start begins a wait. A negative timeout never ends it.
func (a *alarm) start(timeout time.Duration) {
	if timeout < 0 {
		return
	}
	end := int64(time.Since(a.base) + timeout)
	a.end.Store(end)
	if set := a.set.Load(); set == 0 || set > end {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.reset(end, timeout)
	}
}

// stop ends a wait. It reports whether the alarm has gone off, and takes that
// back.
func (a *alarm) stop() bool {
	if a.end.Swap(0) != gone {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.conn.SetDeadline(time.Time{})
	return true
}

func (a *alarm) reset(end int64, rest time.Duration) {
	a.set.Store(end)
	if a.timer == nil {
		a.timer = time.AfterFunc(rest, a.fire)
	} else {
		a.timer.Reset(rest)
	}
}

// fire is called when some wait might have taken too long.
func (a *alarm) fire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set.Store(0)
	for {
		// A wait that begins from here on sets the timer itself.
		end := a.end.Load()
		if end <= 0 {
			return
		}
		if rest := time.Duration(end) - time.Since(a.base); rest > 0 {
			a.reset(end, rest)
			return
		}
		if a.end.CompareAndSwap(end, gone) {
			_ = a.conn.SetDeadline(past)
			return
		}
	}
}

// release lets go of the timer, at the end of the connection.
func (a *alarm) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
}

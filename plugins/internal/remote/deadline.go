package remote

import (
	"sync"
	"time"
)

// deadline is a time that can be moved while it is waited for.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed when it is over; another one when it is moved then
}

func newDeadline() deadline { return deadline{passed: make(chan struct{})} }

// over returns what is closed at the deadline. It is asked for each wait.
func (d *deadline) over() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// set moves the deadline. The zero time is never. Who waits is woken by the new one.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // the timer has gone off, and is about to say so
	}
	d.timer = nil
	if done(d.passed) {
		d.passed = make(chan struct{})
	}
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(d.passed)
	default:
		passed := d.passed
		d.timer = time.AfterFunc(wait, func() { close(passed) })
	}
}

package core

import (
	"sync"
	"time"
)

// replyClock is the clock of the reply being read where one goroutine reads
// while another may still be writing what is replied to: it starts when that is
// written.
type replyClock struct {
	mu      sync.Mutex
	held    bool // what is replied to is not written yet
	due     bool // the clock is to start
	reading bool
	end     time.Time // nothing is waited for any longer
}

// share says that from now on one goroutine may read while another writes.
func (c *conn) share() {
	if !c.shared { // once it is, others read this
		c.shared = true
	}
}

// holdClock says, before a reply is read, whether what it replies to is yet to
// be written.
func (c *conn) holdClock(hold bool) {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	c.clock.held = hold
}

// flushed says that everything is written whose replies are being read.
func (c *conn) flushed() {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	c.clock.held = false
	if c.clock.reading && c.clock.due {
		c.startClock()
	}
}

// hurry gives a connection that cannot be written to a moment for its last
// words.
func (c *conn) hurry() {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	c.clock.end = time.Now().Add(lastWords)
	_ = c.raw.SetReadDeadline(c.clock.end)
}

// startClock sets the deadline of the reply being read.
func (c *conn) startClock() {
	c.clock.due = false
	end := deadline(c.timeout)
	if !c.clock.end.IsZero() {
		end = c.clock.end
	}
	_ = c.raw.SetReadDeadline(end)
	if c.ctx.Err() != nil {
		_ = c.raw.SetReadDeadline(past)
	}
}

// readShared reads what belongs to a reply.
func (c *conn) readShared(p []byte) (int, error) {
	c.clock.mu.Lock()
	if !c.armed {
		c.armed, c.clock.due = true, true
		if c.clock.held && c.clock.end.IsZero() {
			_ = c.raw.SetReadDeadline(time.Time{})
		}
	}
	if c.clock.due && !c.clock.held {
		c.startClock()
	}
	c.clock.reading = true
	c.clock.mu.Unlock()
	n, err := c.stream.Read(p)
	c.clock.mu.Lock()
	c.clock.reading = false
	c.clock.mu.Unlock()
	return n, err
}

// stopClock lets the next reply take its time, until the caller sets a deadline.
func (c *conn) stopClock() {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	c.armed, c.clock.due = true, false
	_ = c.raw.SetReadDeadline(time.Time{})
}

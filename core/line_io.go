package core

import (
	"errors"
	"runtime"
	"slices"
	"time"
)

// Bounds of what is in flight on a shared session.
const (
	// maxReplies is how many replies may be due.
	maxReplies = 1000
	// maxWrite is how many octets are written at a time, give or take the last
	// flight.
	maxWrite = 128 << 10
)

// start starts the goroutines, which live as long as the session.
func (l *line) start() {
	if !l.started {
		l.started = true
		l.running.Go(l.writeFlights)
		l.running.Go(l.readFlights)
	}
}

// writeFlights writes what there is to be written, until the line ends.
func (l *line) writeFlights() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for !l.take() {
			if l.ended {
				return
			}
			l.mu.Unlock()
			<-l.write
			// Whoever else is about to send can be in the same write.
			runtime.Gosched()
			l.mu.Lock()
		}
		upTo := l.taken
		l.mu.Unlock()
		wake(l.read) // it reads even while this is being written
		err := l.s.conn.writeContained(l.out, l.s.config.Timeouts.Write)
		l.mu.Lock()
		l.written = upTo
		if err != nil {
			if found := l.s.conn.over(); found != nil {
				err = found // the connection was closed on this side: that is the reason
			}
			l.unwritten = err
			l.stop(err)
			l.s.conn.hurry() // the reader ends it
			if len(l.awaiting) == 0 {
				l.fail(err)
			}
		}
		l.s.conn.flushed()
		l.advance() // who is to be alone waits for this, too
	}
}

// take puts into l.out what is to be written next. It reports false if there is
// nothing.
func (l *line) take() bool {
	l.out = l.out[:0]
	if len(l.awaiting) > l.s.config.PipelineDepth/2 {
		// As TCP avoids silly windows (RFC 1122 §4.2.3.4): messages that trickle
		// in one by one, each as another's reply comes, would leave one by one
		// for ever. The server has enough before it.
		return false
	}
	for len(l.places) > 0 && !l.held && l.broken == nil && len(l.out) < maxWrite {
		p := l.places[0]
		f := p.ready
		if f == nil || len(l.awaiting) > 0 && !l.mayFollow(f) {
			break
		}
		l.out = append(l.out, f.w.buffer...)
		if f.content != nil {
			f.content.lastWrite = true
		}
		l.taken++
		p.ready, p.flight, p.number, p.begun = nil, f, l.taken, true
		l.replies += len(f.sent)
		l.awaiting = append(l.awaiting, p)
		if !p.last {
			break // it goes on when the replies are in
		}
		l.places = append(l.places[:0], l.places[1:]...)
	}
	return len(l.out) > 0
}

// mayFollow reports whether a flight may be written while replies are due.
func (l *line) mayFollow(f *flight) bool {
	if l.replies+len(f.sent) > maxReplies {
		return false
	}
	// Before content was accepted with BDAT it is only the server's word that it
	// knows it: if it does not, it reads content as commands, and whatever
	// follows would be in doubt.
	return l.proven || f.sent[len(f.sent)-1].Verb != "BDAT"
}

// readFlights reads the replies that are due, until the line ends.
func (l *line) readFlights() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.ended {
		if len(l.awaiting) == 0 {
			l.mu.Unlock()
			<-l.read
			l.mu.Lock()
			continue
		}
		p := l.awaiting[0]
		l.s.conn.holdClock(p.number > l.written)
		p.flight.closing = l.closing
		l.mu.Unlock()
		err := l.s.receive(p.flight)
		l.mu.Lock()
		l.landed(p, err)
	}
}

// landed takes in the replies to the first of those that were awaited.
func (l *line) landed(p *place, err error) {
	f := p.flight
	l.awaiting = append(l.awaiting[:0], l.awaiting[1:]...)
	l.replies -= len(f.sent)
	if err == nil {
		err = l.judge(f)
		l.settle(p, nil)
	} else {
		err = l.reason(err)
		l.settle(p, err)
	}
	switch {
	case f.closing != nil && !f.cut && slices.ContainsFunc(l.awaiting, func(p *place) bool { return p.flight.content != nil }):
		l.closing = err
		l.stop(err)
		return
	case err != nil:
	case p.left && !p.last, len(l.awaiting) == 0 && l.broken != nil:
		err = l.broken
	case len(l.awaiting) == 0 && l.s.conn.reader.Buffered() > 0:
		err = protocolError(StageCommand, "the server spoke out of turn")
	default:
		if len(l.awaiting) == 0 && p.number > l.written {
			// The server has said everything before it has read everything. If
			// it does not read the rest, there is no use for the session.
			_ = l.s.conn.raw.SetWriteDeadline(time.Now().Add(lastWords))
		}
		l.advance()
		return
	}
	for _, p := range l.awaiting {
		l.settle(p, sharedFate(p.flight, err))
	}
	l.awaiting = l.awaiting[:0]
	l.fail(err)
}

// reason returns why there is nothing more to read: what the server said, or
// what was done to the connection on this side.
func (l *line) reason(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Reply.Code != 0 {
		return err
	}
	if l.unwritten != nil {
		return l.unwritten
	}
	return l.s.conn.over()
}

// judge looks at the replies to a flight for what concerns those behind it. The
// error says that the session cannot go on.
func (l *line) judge(f *flight) error {
	if f.sent[0].Verb == "RSET" {
		if err := l.s.afterReset(f.got[0]); err != nil {
			return err
		}
	}
	last := len(f.sent) - 1
	if f.sent[last].Verb != "BDAT" {
		return nil // the end of DATA clears everything, RFC 5321 §4.1.1.4
	}
	for _, reply := range f.got[last:] {
		l.proven = l.proven || reply.Positive()
		l.s.needsReset = l.s.needsReset || reply.Code >= 400 // RFC 3030 §2
	}
	if f.refusesBDAT() {
		l.s.config.noChunking.Store(true)
		return &Error{Stage: StageContent, Class: Temporary, Err: errChunking}
	}
	return nil
}

package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// line is the order in which transactions share a session.
//
// A transaction takes a place behind the others before it writes anything. What
// the first place has to write is written; when that ends its transaction, what
// the next place has follows in the same write. With CHUNKING that is whole
// transactions one behind the other; without, one's content and the next one's
// envelope. Replies belong to the flights in the order in which these were
// written. One goroutine writes and one reads (line_io.go), so neither side can
// block the other, and whoever waits for replies can leave when his context
// ends.
//
// What cannot be written at once, large content say, waits until everything in
// front of it is answered. It then has the session to itself, as every
// transaction has on a session that is not shared.
type line struct {
	s           *Session
	write, read chan struct{} // wake the goroutines; capacity 1
	running     sync.WaitGroup

	mu        sync.Mutex
	places    []*place // that may still write, in order
	awaiting  []*place // whose replies are due, in order
	replies   int      // how many those are, at the least
	held      bool     // places[0] has the session to itself
	proven    bool     // the server has accepted content with BDAT
	started   bool     // the goroutines
	ended     bool     // they are to end
	broken    error    // why nothing is written any more
	unwritten error    // what a write failed with
	closing   error    // a 421, behind which replies to content are still listened for
	out       []byte   // what is being written
	taken     uint64   // flights taken to be written
	written   uint64   // of these, how many were written
	free      []*scratch
}

// place is a transaction's place in a line.
type place struct {
	alone  bool          // it is to have the session to itself
	wary   bool          // the session may be dead: it has rested
	begun  bool          // something was written, or the session is there for it alone
	last   bool          // with the flight the transaction has nothing more to write
	left   bool          // the transaction has gone without waiting for the replies
	ready  *flight       // to be written
	flight *flight       // taken to be written
	number uint64        // of flight, in the order of being taken
	done   chan struct{} // capacity 1: the flight is settled, or the session is there
	err    error         // what the flight was settled with
}

// errNotBegun is the cause where a session ended before anything of a
// transaction was written: it may have another session.
var errNotBegun = errors.New("the session ended before its turn")

func notBegun(reason error) *Error {
	// The reason is somebody else's: of his context, say.
	return &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("%w: %w: %v", ErrDisconnected, errNotBegun, reason)}
}

// ownReason returns err, unless the caller has a better reason not to begin.
func ownReason(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, errNotBegun) {
		return &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("waiting for a session: %w", contextError(ctx))}
	}
	return err
}

// errAbandoned is the end of a session on which an envelope was written that
// gets no content.
var errAbandoned = fmt.Errorf("%w: another message on the session was abandoned", ErrDisconnected)

func newLine(s *Session) *line {
	s.conn.share()
	return &line{s: s, write: make(chan struct{}, 1), read: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// memory returns what a transaction works with, to be given back with release.
func (l *line) memory() *scratch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		w := l.free[n-1]
		l.free = l.free[:n-1]
		return w
	}
	return &scratch{place: place{done: make(chan struct{}, 1)}}
}

// release takes back what memory returned, unless replies to it are still due.
func (l *line) release(w *scratch) {
	if w.place.left {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, w)
}

// join takes a place. If alone is set it waits until the session is there for
// this transaction alone; so it does on a session that has rested. It reports
// whether RSET is to go in front: if a transaction before was refused, or may
// yet be. The error says that nothing was begun.
func (l *line) join(ctx context.Context, w *scratch, alone bool) (reset bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &w.place
	*p = place{done: p.done}
	if l.broken != nil {
		return false, ownReason(ctx, notBegun(l.broken))
	}
	p.wary = l.s.rested && len(l.places) == 0
	p.alone = alone || p.wary
	reset = l.s.needsReset || len(l.places) > 0 || len(l.awaiting) > 0
	l.places = append(l.places, p)
	if !p.alone {
		w.line = l
		return reset, nil
	}
	l.advance()
	if !l.wait(ctx, p) {
		l.remove(p)
		return false, &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("waiting for a session: %w", contextError(ctx))}
	}
	return l.s.needsReset, ownReason(ctx, p.err)
}

// wait waits for p.done, with the lock given up meanwhile. It reports false if
// the context ends first.
func (l *line) wait(ctx context.Context, p *place) bool {
	l.mu.Unlock()
	select {
	case <-p.done:
		l.mu.Lock()
		return true
	case <-ctx.Done():
	}
	l.mu.Lock()
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// leave gives a place up, when its transaction has ended in whatever way.
func (l *line) leave(w *scratch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.line = nil
	p := &w.place
	if p.left {
		return
	}
	if p.alone && p.begun {
		l.held = false
	}
	if reason := l.s.conn.over(); reason != nil {
		l.fail(reason)
	}
	l.remove(p)
}

// remove takes a place out, if it is there, and lets the next one come forward.
func (l *line) remove(p *place) {
	if i := slices.Index(l.places, p); i >= 0 {
		l.places = slices.Delete(l.places, i, i+1)
	}
	l.advance()
}

// advance lets the first place have its turn, if it has come.
func (l *line) advance() {
	if len(l.places) == 0 || l.held || l.broken != nil {
		return
	}
	switch p := l.places[0]; {
	case p.ready != nil:
		wake(l.write)
	case p.alone && len(l.awaiting) == 0 && l.written == l.taken:
		l.held, l.s.rested, p.begun = true, false, true
		p.done <- struct{}{}
	}
}

// fly has a flight written in its turn, and waits for its replies. When ctx ends
// it returns at once: what is not written yet is taken back, and the replies to
// what is written are read and dropped when they come.
func (l *line) fly(ctx context.Context, f *flight) ([]Reply, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &f.w.place
	switch {
	case l.broken != nil && !p.begun:
		return nil, ownReason(ctx, notBegun(l.broken))
	case l.broken != nil:
		return nil, sharedFate(f, l.broken)
	}
	f.mu = &l.mu
	p.ready, p.last, p.err = f, f.content != nil, nil
	l.start()
	l.advance()
	if l.wait(ctx, p) {
		return f.got, ownReason(ctx, p.err)
	}
	err := &Error{Stage: firstStage(f.sent), Class: Temporary, Err: fmt.Errorf("waiting for the reply: %w", contextError(ctx))}
	switch {
	case p.ready == nil && p.last:
		l.leaveBehind(p)
	case p.ready == nil:
		// The server will wait for content that does not come. The replies to
		// what stands in front are still read.
		l.leaveBehind(p)
		l.remove(p)
		l.stop(errAbandoned)
	case p.begun:
		p.ready = nil
		l.fail(errAbandoned) // the server waits for this content, and nothing else is under way
	default:
		p.ready = nil
	}
	return slices.Clone(f.got), err
}

// leaveBehind has the replies to a flight read and dropped, with nobody waiting
// for them. The session is in use until then.
func (l *line) leaveBehind(p *place) {
	p.left = true
	l.s.pool.leftBehind(l.s)
}

// stop has nothing more written, and tells those who have not begun.
func (l *line) stop(reason error) {
	if l.broken == nil {
		l.broken = reason
		l.s.ending.Store(true)
	}
	l.places = slices.DeleteFunc(l.places, func(p *place) bool {
		if p.begun {
			return false
		}
		if p.ready != nil || p.alone {
			p.ready, p.err = nil, notBegun(l.broken)
			p.done <- struct{}{}
		}
		return true
	})
}

// fail ends the session: nothing more is written or read. Each flight that was
// written has the outcome of its own position, which the reader settles.
func (l *line) fail(reason error) {
	l.s.conn.kill(reason)
	l.stop(reason)
	for _, p := range l.places {
		if p.ready != nil { // content for which the server waits
			p.ready, p.err = nil, sharedFate(p.ready, reason)
			p.done <- struct{}{}
		}
	}
	if len(l.awaiting) == 0 {
		l.end()
	}
}

// end ends the goroutines.
func (l *line) end() {
	l.ended = true
	wake(l.write)
	wake(l.read)
}

// sharedFate is the error of a flight that ended because the session did. A 421
// counts for everything behind it (RFC 5321 §3.8).
func sharedFate(f *flight, reason error) *Error {
	e := &Error{Stage: firstStage(f.sent), Class: Temporary, Err: reason}
	if this, ok := errors.AsType[*Error](reason); ok {
		e.Err, e.Reply, e.Hint = this.Err, this.Reply, this.Hint
		if e.Reply.Code != 421 {
			e.Reply = Reply{}
		}
		if e.Err == nil {
			e.Err = reason
		}
	}
	return e
}

// settle tells the transaction that its flight has come to its end.
func (l *line) settle(p *place, err error) {
	p.err = err
	if p.left {
		// It may end the session, and with it the goroutine that this runs in.
		l.s.pool.running.Go(func() { l.s.pool.caughtUp(l.s) })
		return
	}
	p.done <- struct{}{}
}

// close ends the goroutines of a session on which nothing is under way.
func (l *line) close() {
	l.mu.Lock()
	l.stop(ErrClosed)
	l.end()
	l.mu.Unlock()
	l.running.Wait()
}

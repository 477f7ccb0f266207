package core

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// pool keeps the sessions of a client. A message gets the idle session that was
// used last, so that those that are not needed grow old and are closed; else a
// new one, up to the maximum; else, where sessions may be shared, the one that
// has the fewest messages on it. Who gets none waits, in order.
type pool struct {
	settings *settings
	pipeline *pipeline

	mu       sync.Mutex
	open     int        // sessions that are open or being opened
	idle     []*Session // the last is the most recent
	shared   []*Session // in use, and others may come in
	waiting  []*waiter
	closed   bool
	goodbyes int        // sessions that end with nobody waiting for it
	ended    *sync.Cond // one of them has
}

// waiter is somebody who waits for a session.
type waiter struct {
	// turn has a session that has room, or nil: a new one may be opened. It is
	// closed with the pool.
	turn chan *Session
}

// pooled is what a pool keeps with a session.
type pooled struct {
	pool         *pool
	users        int // messages on it
	behind       int // of these, how many have left before their replies
	transactions int // it was ever given to
	idleSince    time.Time
	timer        *time.Timer // ends it when it is idle for too long
}

// steadyUse is how long a session may rest and still be trusted to be alive: one
// that has rested longer may have been dropped somewhere on the way, unseen, so
// the replies to an envelope are read before content follows it. It is replaced
// then, and nobody has to wonder whether the message was accepted.
const steadyUse = time.Second

func newPool(settings *settings, pipeline *pipeline) *pool {
	p := &pool{settings: settings, pipeline: pipeline}
	p.ended = sync.NewCond(&p.mu)
	return p
}

// get returns a session that is ready for a transaction, and whether it was
// used before. The caller gives it back with put. With fresh set an idle one
// will not do, since another has turned out dead, and the caller comes first.
func (p *pool) get(ctx context.Context, fresh bool) (s *Session, kept bool, err error) {
	p.mu.Lock()
	for len(p.idle) > 0 && !p.closed {
		if !fresh {
			s := p.unpark(len(p.idle) - 1)
			p.mu.Unlock()
			usable := s.usable()
			p.mu.Lock()
			if usable {
				p.share(s)
				p.mu.Unlock()
				return s, true, nil
			}
			s.conn.kill(fmt.Errorf("%w while idle", ErrDisconnected))
			p.mu.Unlock()
			p.put(s)
			p.mu.Lock()
			continue
		}
		if p.open < p.settings.MaxSessions {
			break
		}
		s := p.unpark(0) // to make room for a new one
		p.mu.Unlock()
		s.conn.kill(ErrClosed)
		p.put(s)
		p.mu.Lock()
	}
	if p.closed {
		p.mu.Unlock()
		return nil, false, errClientClosed()
	}
	if p.open < p.settings.MaxSessions {
		p.open++
		p.mu.Unlock()
		s, err := p.dial(ctx)
		return s, false, err
	}
	if s := p.roomiest(); s != nil {
		p.mu.Unlock()
		return s, true, nil
	}
	w := &waiter{turn: make(chan *Session, 1)}
	if fresh {
		p.waiting = slices.Insert(p.waiting, 0, w)
	} else {
		p.waiting = append(p.waiting, w)
	}
	p.mu.Unlock()
	return p.wait(ctx, w)
}

// wait waits for a turn.
func (p *pool) wait(ctx context.Context, w *waiter) (s *Session, kept bool, err error) {
	select {
	case s, ok := <-w.turn:
		switch {
		case !ok:
			return nil, false, errClientClosed()
		case s != nil:
			return s, true, nil
		}
		s, err := p.dial(ctx)
		return s, false, err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else if s, ok := <-w.turn; ok {
		// The turn had come already. It is another's.
		if s != nil {
			s.transactions--
			defer p.put(s)
		} else {
			p.open--
			p.serve()
		}
	}
	p.mu.Unlock()
	return nil, false, &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("waiting for a session: %w", contextError(ctx))}
}

func errClientClosed() error { return localError(StageConnect, ErrClosed, "the client was closed") }

// dial opens a session, which is counted already.
func (p *pool) dial(ctx context.Context) (*Session, error) {
	s, err := connectSession(ctx, p.settings, p.pipeline, true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.open--
		p.serve()
		return nil, err
	}
	s.pooled = pooled{pool: p, users: 1, transactions: 1}
	if p.settings.PipelineDepth > 1 && s.peer.Extensions.pipelining {
		s.line = newLine(s)
		p.share(s)
	}
	return s, nil
}

// roomiest enters the shared session that has the fewest messages on it, and
// returns it. It returns nil if none has room.
func (p *pool) roomiest() (best *Session) {
	for _, s := range p.shared {
		if s.users < p.settings.PipelineDepth && !s.spent() && (best == nil || s.users < best.users) {
			best = s
		}
	}
	if best != nil {
		best.users++
		best.transactions++
	}
	return best
}

// spent reports whether the session is for no more transactions.
func (s *Session) spent() bool {
	most := s.peer.Extensions.mailMax // RFC 9422 §4
	return s.conn.over() != nil || s.ending.Load() || most > 0 && s.transactions >= most
}

// unpark takes an idle session for one transaction.
func (p *pool) unpark(i int) *Session {
	s := p.idle[i]
	p.idle = slices.Delete(p.idle, i, i+1)
	s.users, s.rested = 1, time.Since(s.idleSince) > steadyUse
	s.transactions++
	return s
}

// share lets others come in to a session that is in use.
func (p *pool) share(s *Session) {
	if s.line != nil {
		p.shared = append(p.shared, s)
		p.serve()
	}
}

// put gives a session back.
func (p *pool) put(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users--
	if s.users > 0 {
		if p.closed && s.users == s.behind {
			s.conn.kill(ErrClosed)
		}
		p.serve()
		return
	}
	if i := slices.Index(p.shared, s); i >= 0 {
		p.shared = slices.Delete(p.shared, i, i+1)
	}
	if s.spent() || p.closed || p.settings.IdleTimeout < 0 {
		p.end(s)
		return
	}
	s.idleSince = time.Now()
	if s.timer == nil {
		s.timer = time.AfterFunc(p.settings.IdleTimeout, func() { p.retire(s) })
	}
	p.idle = append(p.idle, s)
	p.serve()
}

// serve gives those who wait their turn, as far as there is something for them.
func (p *pool) serve() {
	for len(p.waiting) > 0 && !p.closed {
		var s *Session
		if n := len(p.idle); n > 0 {
			s = p.unpark(n - 1)
			if s.line != nil {
				p.shared = append(p.shared, s)
			}
		} else if p.open < p.settings.MaxSessions {
			p.open++
		} else if s = p.roomiest(); s == nil {
			return
		}
		p.waiting[0].turn <- s
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
}

// leftBehind says that a message has left a session on which replies to it are
// still due. It is not put back; caughtUp follows when they are in.
func (p *pool) leftBehind(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.behind++
	p.goodbyes++
	if p.closed && s.behind == s.users {
		s.conn.kill(ErrClosed)
	}
}

// caughtUp says that the replies are in for which nobody waited.
func (s *Session) caughtUp() {
	p := s.pool
	go func() { // the caller has the line locked
		p.mu.Lock()
		s.behind--
		p.mu.Unlock()
		p.put(s)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.goodbyes--
		p.ended.Broadcast()
	}()
}

// retire ends a session that was idle for too long. The timer is not stopped
// and started at each use: when it fires it is set anew, if that is due.
func (p *pool) retire(s *Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.idle, s)
	if i < 0 {
		s.timer = nil // put makes another one
		return
	}
	if rest := p.settings.IdleTimeout - time.Since(s.idleSince); rest > 0 {
		s.timer.Reset(rest)
		return
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	p.end(s)
}

// end says goodbye on a session that nobody uses. The lock is given up
// meanwhile.
func (p *pool) end(s *Session) {
	if s.timer != nil {
		s.timer.Stop()
	}
	p.goodbyes++
	p.mu.Unlock()
	s.quit()
	p.mu.Lock()
	p.open--
	p.goodbyes--
	p.ended.Broadcast()
	p.serve()
}

// close says goodbye on every idle session and waits until that is done.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.waiting {
		close(w.turn)
	}
	p.waiting = nil
	for _, s := range p.shared {
		if s.behind == s.users {
			s.conn.kill(ErrClosed)
		}
	}
	for _, s := range p.idle {
		p.goodbyes++
		go func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.end(s)
			p.goodbyes--
		}()
	}
	p.idle = nil
	for p.goodbyes > 0 {
		p.ended.Wait()
	}
}

// quit parts from the server politely, but not patiently.
func (s *Session) quit() {
	if s.line != nil {
		s.line.close()
	}
	if s.conn.over() != nil {
		return
	}
	ctx, cancel := withTimeout(context.Background(), s.config.Timeouts.Quit)
	defer cancel()
	s.conn.watch(ctx)
	defer s.conn.unwatch()
	_, _ = s.command(ctx, Command{Verb: "QUIT", stage: StageCommand, timeout: s.config.Timeouts.Quit})
	s.conn.kill(ErrClosed)
}

// usable looks whether an idle session can take another transaction: whatever
// the server has sent meanwhile, and be it the end of the stream, condemns it.
func (s *Session) usable() bool {
	if s.conn.over() != nil || s.conn.reader.Buffered() > 0 {
		return false
	}
	// An envelope that goes ahead finds that out itself, and the session is
	// replaced. So looking is worth its system call where content goes with the
	// envelope, or if much may have happened.
	extensions := &s.peer.Extensions
	inline := extensions.pipelining && extensions.chunking && !s.config.noChunking.Load()
	return !inline && !s.rested || !s.conn.disturbed()
}

package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pool keeps the sessions of a client. A message gets the idle session that was
// used last, so that those that are not needed grow old and are closed; else a
// new one, up to the maximum; else, where sessions may be shared, the one that
// has the fewest messages on it. Who gets none waits, in order.
//
// Sessions are opened by goroutines of the pool: a caller who leaves meanwhile
// leaves the session to the next.
type pool struct {
	settings *settings
	pipeline *pipeline
	ctx      context.Context // of what the pool does itself
	cancel   context.CancelFunc

	mu       sync.Mutex
	open     int                   // sessions that there are, or that are being opened or closed
	live     map[*Session]struct{} // those that are open
	idle     []*Session            // the last is the most recent
	shared   []*Session            // in use, and others may come in
	waiting  []*waiter
	closed   bool
	dials    []*dial
	goodbyes int        // sessions that end, or whose replies nobody waits for
	changed  *sync.Cond // one of those has ended
	running  sync.WaitGroup
	stats    Stats
	events   []PoolEvent // to be told
	telling  bool        // somebody is at it

	breaker Breaker               // or nil
	resting atomic.Bool           // it has said so
	failure atomic.Pointer[error] // the last one that it was told of
}

// waiter is somebody who waits for a session.
type waiter struct {
	ctx   context.Context
	turn  chan turn // capacity 1
	dial  *dial     // a session is being opened for it
	fresh bool      // an idle one will not do
}

// dial is a session that is being opened.
type dial struct {
	w     *waiter // who is to hear why it failed, or nil
	began time.Time
	stage atomic.Uint32 // that it has come to
}

// turn is what a waiter waits for: a session that has room, or why there is
// none.
type turn struct {
	s   *Session
	err error
}

// steadyUse is how long a session may rest and still be trusted to be alive: one
// that has rested longer may have been dropped somewhere on the way, unseen, so
// the replies to an envelope are read before content follows it. It is replaced
// then, and nobody has to wonder whether the message was accepted.
const steadyUse = time.Second

func newPool(settings *settings, pipeline *pipeline, breaker Breaker) *pool {
	p := &pool{settings: settings, pipeline: pipeline, breaker: breaker, live: make(map[*Session]struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.changed = sync.NewCond(&p.mu)
	p.stats.MaxSessions = settings.MaxSessions
	return p
}

// get returns a session that is ready for a transaction, and whether it was
// used before. The caller gives it back with put.
func (p *pool) get(ctx context.Context) (s *Session, kept bool, err error) {
	p.look()
	p.mu.Lock()
	for len(p.idle) > 0 && !p.closed {
		s := p.unpark(len(p.idle) - 1)
		p.unlock()
		usable := s.usable()
		p.mu.Lock()
		if usable {
			p.share(s)
			p.unlock()
			return s, true, nil
		}
		s.users = 0
		p.note(PoolEvent{Kind: SessionReturned, Peer: s.peer})
		if s.outdated() {
			p.farewell(s)
		} else {
			p.discard(s, fmt.Errorf("%w while idle", ErrDisconnected))
		}
	}
	if p.open >= p.settings.MaxSessions {
		if s := p.roomiest(); s != nil {
			p.unlock()
			return s, true, nil
		}
	}
	w := &waiter{ctx: ctx, turn: make(chan turn, 1)}
	p.waiting = append(p.waiting, w)
	p.serve()
	p.unlock()
	return p.wait(w)
}

// replace takes back a session that has turned out dead before anything was
// begun on it, and returns another one, as get does. An idle one will not do:
// it may be dead for the same reason. The caller comes before those who wait.
func (p *pool) replace(ctx context.Context, dead *Session) (s *Session, kept bool, err error) {
	p.mu.Lock()
	w := &waiter{ctx: ctx, turn: make(chan turn, 1), fresh: true}
	p.waiting = slices.Insert(p.waiting, 0, w)
	p.giveBack(dead)
	if len(p.idle) > 0 && p.open >= p.settings.MaxSessions && slices.Contains(p.waiting, w) {
		oldest := p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
		p.discard(oldest, ErrClosed) // to make room
	}
	p.serve()
	p.unlock()
	return p.wait(w)
}

// wait waits for a turn.
func (p *pool) wait(w *waiter) (s *Session, kept bool, err error) {
	began := time.Now()
	var t turn
	left := false
	select {
	case t = <-w.turn:
	case <-w.ctx.Done():
		left = true
	}
	p.mu.Lock()
	defer p.unlock()
	if left {
		stage := StageConnect
		if w.dial != nil {
			stage = max(stage, Stage(w.dial.stage.Load()))
		}
		t.err = &Error{Stage: stage, Class: Temporary, Err: fmt.Errorf("waiting for a session: %w", contextError(w.ctx))}
	}
	waited := time.Since(began)
	p.stats.Waits++
	p.stats.Waited += waited
	p.note(PoolEvent{Kind: MessageWaited, Waited: waited, Err: t.err})
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.dismiss(i)
	} else if t.s == nil {
		select {
		case late := <-w.turn: // it is another's
			if late.s != nil {
				late.s.transactions--
				p.giveBack(late.s)
			}
		default:
		}
	}
	return t.s, t.s != nil && t.s.transactions > 1, t.err
}

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func errClientClosed() error { return localError(StageConnect, ErrClosed, "the client was closed") }

// serve gives those who wait what there is for them, in order.
func (p *pool) serve() {
	if p.closed {
		for len(p.waiting) > 0 {
			p.dismiss(0).turn <- turn{err: errClientClosed()}
		}
	}
	for i := 0; i < len(p.waiting); {
		w := p.waiting[i]
		var s *Session
		switch n := len(p.idle); {
		case n > 0 && !w.fresh:
			s = p.unpark(n - 1)
			if s.line != nil {
				p.shared = append(p.shared, s)
			}
		case w.dial != nil:
			i++
			continue
		case p.adopt(w):
			i++
			continue
		case p.open < p.settings.MaxSessions && (p.open == 0 || w.fresh || !p.resting.Load()):
			// With no session there is nothing to wait for, so the breaker is asked.
			p.dial(w.ctx, w)
			i++
			continue
		default:
			if s = p.roomiest(); s == nil {
				return
			}
		}
		p.dismiss(i).turn <- turn{s: s}
	}
}

// dismiss takes a waiter out. What is being opened for him is for the next.
func (p *pool) dismiss(i int) *waiter {
	w := p.waiting[i]
	p.waiting = slices.Delete(p.waiting, i, i+1)
	if w.dial != nil {
		w.dial.w, w.dial = nil, nil
	}
	return w
}

// adopt has a waiter wait for a session that is being opened for nobody.
func (p *pool) adopt(w *waiter) bool {
	for _, d := range p.dials {
		if d.w == nil {
			d.w, w.dial = w, d
			return true
		}
	}
	return false
}

// dial has a session opened for a waiter, or for whoever is first when it is
// there. The values of ctx count, not its end.
func (p *pool) dial(ctx context.Context, w *waiter) {
	d := &dial{w: w, began: time.Now()}
	if w != nil {
		w.dial = d
	}
	p.open++
	p.dials = append(p.dials, d)
	p.running.Go(func() {
		timeout := p.settings.Timeouts.Connect
		ctx, cancel := withTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		defer context.AfterFunc(p.ctx, cancel)()
		done, err := p.allow()
		var s *Session
		if err == nil {
			s, err = connectSession(ctx, p.settings, p.pipeline, &d.stage)
			if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				err = tooSlow(err, timeout)
			}
			done(err)
		}
		p.mu.Lock()
		defer p.unlock()
		p.opened(d, s, err)
	})
}

// tooSlow is the error of a session that was not open within Timeouts.Connect.
func tooSlow(err error, timeout time.Duration) error {
	e := &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("%w: there was no session after %v: %w", ErrDisconnected, timeout, err)}
	if this, ok := errors.AsType[*Error](err); ok {
		e.Stage, e.Hint = this.Stage, this.Hint
	}
	return e
}

// opened takes in the end of a dial.
func (p *pool) opened(d *dial, s *Session, err error) {
	p.dials = slices.DeleteFunc(p.dials, func(other *dial) bool { return other == d })
	p.changed.Broadcast()
	w := d.w
	if w != nil {
		w.dial = nil
	}
	if err != nil {
		p.open--
		if !errors.Is(err, ErrResting) {
			p.stats.Failed++
			p.note(PoolEvent{Kind: SessionFailed, Err: err})
		}
		if i := slices.Index(p.waiting, w); i >= 0 {
			p.dismiss(i).turn <- turn{err: err}
		}
		p.serve()
		return
	}
	p.stats.Opened++
	p.live[s] = struct{}{}
	p.note(PoolEvent{Kind: SessionOpened, Peer: s.peer})
	s.pooled = pooled{pool: p, since: time.Now()}
	if p.settings.PipelineDepth > 1 && s.peer.Extensions.pipelining {
		s.line = newLine(s)
	}
	if w != nil {
		w.fresh = false // it is new
	}
	p.park(s)
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

// unpark takes an idle session for one transaction.
func (p *pool) unpark(i int) *Session {
	s := p.idle[i]
	p.idle = slices.Delete(p.idle, i, i+1)
	s.users, s.rested = 1, s.transactions > 0 && time.Since(s.idleSince) > steadyUse
	s.transactions++
	p.note(PoolEvent{Kind: SessionTaken, Peer: s.peer})
	return s
}

// share lets others come in to a session that is in use.
func (p *pool) share(s *Session) {
	if s.line != nil {
		p.shared = append(p.shared, s)
		p.serve()
	}
}

// put takes a session back.
func (p *pool) put(s *Session) {
	p.mu.Lock()
	defer p.unlock()
	p.giveBack(s)
}

// untouched takes back a session on which there was no transaction.
func (p *pool) untouched(s *Session) {
	p.mu.Lock()
	defer p.unlock()
	s.transactions--
	p.giveBack(s)
}

func (p *pool) giveBack(s *Session) {
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
	p.note(PoolEvent{Kind: SessionReturned, Peer: s.peer})
	p.park(s)
}

// park makes a session that nobody uses an idle one, or ends it.
func (p *pool) park(s *Session) {
	used, wanted := s.transactions > 0, len(p.waiting) > 0
	most := p.settings.MaxIdleSessions
	switch {
	case p.closed, s.conn.over() != nil, s.ending.Load(), used && p.settings.IdleTimeout < 0,
		s.spent() && (used || !wanted), // a new one that is outdated already is still good for one
		!wanted && (p.settings.IdleTimeout < 0 || most > 0 && len(p.idle) >= most):
		p.end(s)
		return
	}
	s.idleSince = time.Now()
	if s.timer == nil && p.settings.IdleTimeout > 0 {
		s.timer = time.AfterFunc(p.settings.IdleTimeout, func() { p.retire(s) })
	}
	p.idle = append(p.idle, s)
	p.serve()
}

// retire ends a session that was idle for too long. The timer is not stopped
// and started at each use: when it fires it is set anew, if that is due.
func (p *pool) retire(s *Session) {
	p.mu.Lock()
	defer p.unlock()
	i := slices.Index(p.idle, s)
	if i < 0 {
		s.timer = nil // park makes another one
		return
	}
	if rest := p.settings.IdleTimeout - time.Since(s.idleSince); rest > 0 {
		s.timer.Reset(rest)
		return
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	p.end(s)
}

// discard ends a session that was taken from the idle ones and will not do.
func (p *pool) discard(s *Session, reason error) {
	s.conn.kill(reason)
	p.end(s)
}

// end says goodbye on a session that nobody uses. The lock is given up
// meanwhile.
func (p *pool) end(s *Session) {
	if s.timer != nil {
		s.timer.Stop()
	}
	p.goodbyes++
	p.unlock()
	s.quit()
	p.mu.Lock()
	delete(p.live, s)
	p.open--
	p.goodbyes--
	p.stats.Closed++
	p.note(PoolEvent{Kind: SessionEnded, Peer: s.peer})
	p.changed.Broadcast()
	p.serve()
}

// leftBehind says that a message has left a session on which replies to it are
// still due. It is not put back; caughtUp follows when they are in.
func (p *pool) leftBehind(s *Session) {
	p.mu.Lock()
	defer p.unlock()
	s.behind++
	p.goodbyes++
	if p.closed && s.behind == s.users {
		s.conn.kill(ErrClosed)
	}
}

// caughtUp says that the replies are in for which nobody waited.
func (p *pool) caughtUp(s *Session) {
	p.mu.Lock()
	defer p.unlock()
	s.behind--
	p.giveBack(s)
	p.goodbyes--
	p.changed.Broadcast()
}

// close refuses new work, and has every idle session say goodbye. It waits until
// that is done, and until nobody is behind.
func (p *pool) close() {
	p.mu.Lock()
	defer p.unlock()
	p.refuse()
	for p.goodbyes > 0 || len(p.dials) > 0 || p.telling {
		p.changed.Wait()
	}
}

// refuse begins the end.
func (p *pool) refuse() {
	p.closed = true
	p.cancel() // what is being opened
	p.serve()
	for _, s := range p.shared {
		if s.behind == s.users {
			s.conn.kill(ErrClosed)
		}
	}
	for _, s := range p.idle {
		p.farewell(s)
	}
	p.idle = nil
}

// farewell ends a session with nobody waiting for it.
func (p *pool) farewell(s *Session) {
	p.goodbyes++
	p.running.Go(func() {
		p.mu.Lock()
		defer p.unlock()
		p.end(s)
		p.goodbyes--
		p.changed.Broadcast()
	})
}

// shutdown refuses new work and waits until the last session has ended. When ctx
// ends before, it closes what is left, whatever that was doing.
func (p *pool) shutdown(ctx context.Context) error {
	cut := false
	cutOff := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cutOff)
		p.mu.Lock()
		defer p.unlock()
		for s := range p.live {
			cut = true
			s.conn.kill(ErrClosed)
		}
	})
	defer func() { // goroutines whose work is done may yet be on their way out
		if !stop() {
			<-cutOff
		}
		p.running.Wait()
	}()
	p.mu.Lock()
	defer p.unlock()
	p.refuse()
	for p.open > 0 || p.goodbyes > 0 || p.telling {
		p.changed.Wait()
	}
	if cut {
		return &Error{Stage: StageCommand, Class: Temporary, Err: fmt.Errorf("sessions were cut off: %w", contextError(ctx))}
	}
	return nil
}

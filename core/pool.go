package core

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// pool keeps the sessions of a client. The one used last is used next, so that
// those that are not needed grow old and are closed.
type pool struct {
	settings *settings
	pipeline *pipeline
	slots    chan struct{} // one for each session there may be; waiters are served in order

	mu     sync.Mutex
	idle   []*idleSession // the last is the most recent
	closed bool

	closing sync.WaitGroup // sessions that are saying QUIT
}

// steadyUse is how long a session may rest and still be trusted to be alive: one
// that has rested longer may have been dropped somewhere on the way, unseen, so
// the replies to an envelope are read before content follows it. It is replaced
// then, and nobody has to wonder whether the message was accepted.
const steadyUse = time.Second

type idleSession struct {
	session *Session
	timer   *time.Timer // closes it
}

func newPool(settings *settings, p *pipeline) *pool {
	return &pool{settings: settings, pipeline: p, slots: make(chan struct{}, settings.MaxSessions)}
}

// get returns a session that is ready for a transaction, and whether it was
// kept from an earlier one. The caller puts it back, or the one that replaces it.
func (p *pool) get(ctx context.Context) (s *Session, kept bool, err error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, false, &Error{Stage: StageConnect, Class: Temporary, Err: fmt.Errorf("waiting for a session: %w", contextError(ctx))}
	}
	defer func() {
		if s == nil {
			<-p.slots
		}
	}()
	for {
		s, err := p.take()
		if err != nil {
			return nil, false, err
		}
		if s == nil {
			break
		}
		if s.usable() {
			s.rested = time.Since(s.restingSince) > steadyUse
			return s, true, nil
		}
		s.conn.kill(fmt.Errorf("%w while idle", ErrDisconnected))
	}
	if p.isClosed() {
		return nil, false, errClientClosed()
	}
	s, err = connectSession(ctx, p.settings, p.pipeline, true)
	return s, false, err
}

func errClientClosed() error { return localError(StageConnect, ErrClosed, "the client was closed") }

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// take returns the idle session that was used last, or nil.
func (p *pool) take() (*Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClientClosed()
	}
	n := len(p.idle)
	if n == 0 {
		return nil, nil
	}
	i := p.idle[n-1]
	p.idle = p.idle[:n-1]
	i.timer.Stop() // if it has fired already, it no longer finds the session
	return i.session, nil
}

// put gives a session back.
func (p *pool) put(s *Session) {
	defer func() { <-p.slots }()
	if s.conn.over() != nil {
		return
	}
	s.transactions++
	s.restingSince = time.Now()
	most := s.peer.Extensions.mailMax // RFC 9422 §4
	p.mu.Lock()
	if p.closed || p.settings.IdleTimeout < 0 || most > 0 && s.transactions >= most {
		p.mu.Unlock()
		s.quit()
		return
	}
	defer p.mu.Unlock()
	i := s.idle
	if i == nil {
		i = &idleSession{session: s}
		s.idle = i
		i.timer = time.AfterFunc(p.settings.IdleTimeout, func() { p.retire(i) })
	} else {
		i.timer.Reset(p.settings.IdleTimeout)
	}
	p.idle = append(p.idle, i)
}

// retire closes a session that was idle for too long.
func (p *pool) retire(i *idleSession) {
	p.mu.Lock()
	found := false
	for k := range p.idle {
		if p.idle[k] == i {
			p.idle = append(p.idle[:k], p.idle[k+1:]...)
			found = true
			p.closing.Add(1)
			break
		}
	}
	p.mu.Unlock()
	if found {
		defer p.closing.Done()
		i.session.quit()
	}
}

// close says goodbye on every idle session and waits until that is done.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, i := range idle {
		i.timer.Stop()
		p.closing.Go(i.session.quit)
	}
	p.closing.Wait()
}

// quit parts from the server politely, but not patiently.
func (s *Session) quit() {
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
	return s.conn.over() == nil && s.conn.reader.Buffered() == 0 && !s.conn.disturbed()
}

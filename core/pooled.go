package core

import (
	"context"
	"time"
)

// pooled is what a pool keeps with a session.
type pooled struct {
	pool         *pool
	since        time.Time // it is open
	users        int       // messages on it
	behind       int       // of these, how many have left before their replies
	transactions int       // it was ever given to
	idleSince    time.Time
	timer        *time.Timer // ends it when it is idle for too long
}

// spent reports whether the session is for no more transactions.
func (s *Session) spent() bool {
	if s.conn.over() != nil || s.ending.Load() {
		return true
	}
	used := func(most int) bool { return most > 0 && s.transactions >= most }
	return used(s.config.MaxSessionMessages) || used(s.peer.Extensions.mailMax) || s.outdated() // RFC 9422 §4
}

// outdated reports whether the session is older than it may become, or what it
// authenticated with has expired.
func (s *Session) outdated() bool {
	most := s.config.MaxSessionAge
	return most > 0 && time.Since(s.since) >= most || !s.expires.IsZero() && !time.Now().Before(s.expires)
}

// usable looks whether an idle session can take another transaction: whatever
// the server has sent meanwhile, and be it the end of the stream, condemns it.
func (s *Session) usable() bool {
	if s.conn.over() != nil || s.conn.reader.Buffered() > 0 || s.outdated() {
		return false
	}
	// An envelope that goes ahead finds that out itself, and the session is
	// replaced. So looking is worth its system call where content goes with the
	// envelope, or if much may have happened.
	extensions := &s.peer.Extensions
	inline := extensions.pipelining && extensions.chunking && !s.config.noChunking.Load()
	return !inline && !s.rested || !s.conn.disturbed(s.rested)
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

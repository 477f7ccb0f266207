package interceptortest

import (
	"context"
	"testing"
)

// scope is the testing.TB that Config.New gets. It ends with the case and not with
// the test, because goroutines are counted behind it.
type scope struct {
	testing.TB
	ctx      context.Context
	cancel   context.CancelFunc
	cleanups []func()
}

func newScope(ctx context.Context, t testing.TB) *scope {
	s := &scope{TB: t}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *scope) Context() context.Context { return s.ctx }

// end does what is done when a test ends.
func (s *scope) end() {
	s.cancel()
	for n := len(s.cleanups) - 1; n >= 0; n-- {
		s.cleanups[n]()
	}
	s.cleanups = nil
}

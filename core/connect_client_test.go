package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

func TestConnect(t *testing.T) {
	t.Run("the session that it opens is the next message's", func(t *testing.T) {
		s := newSites("a")
		c := s.client(t, "a", func(config *core.Config) { config.MaxSessionMessages = 1 })
		for range 2 {
			if err := c.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := goes(t, c); got != "a" {
			t.Errorf("it goes to %s", got)
		}
		if dials, _ := s["a"].counts(); dials != 1 {
			t.Errorf("there were %d connections", dials)
		}
	})
	t.Run("it says why there is none", func(t *testing.T) {
		s := newSites("a", "b")
		s["a"].set(func(a *site) { a.down = true })
		s["b"].set(func(b *site) { b.auth = "535 5.7.8 no" })
		c := s.client(t, "a b", func(config *core.Config) { config.Auth = []core.Mechanism{mechanisms.Plain("user", "hunter2")} })
		if err := c.Connect(t.Context()); !errors.Is(err, core.ErrCredentials) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it leaves when its context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSites("a")
			c := s.client(t, "a", nil)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.Connect(t.Context()); !errors.Is(err, core.ErrClosed) {
				t.Errorf("a closed client says %v", err)
			}
		})
	})
}

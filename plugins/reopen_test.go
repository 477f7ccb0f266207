//go:build unix

package plugins_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// What was had of a plugin before it was closed works when it is open again.
func TestReopen(t *testing.T) {
	f := newFixture(t, "well")
	p := f.start(t)
	m := mechanism(t, p)
	key, err := p.Signer("key")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		works(t, m)
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := processes(t, f.config.RuntimeDir); len(left) > 0 {
			t.Errorf("processes are left: %v", left)
		}
		_, err := say(t.Context(), m, "hello")
		temporary(t, err, plugins.ErrDown)
		if err := p.Reopen(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	works(t, m)
	signature, err := key.Sign(nil, []byte("hello"), crypto.Hash(0))
	if err != nil || !ed25519.Verify(key.Public().(ed25519.PublicKey), []byte("hello"), signature) {
		t.Error(err)
	}
	if s := p.Status(); s.State != plugins.Ready || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
	// It is supervised.
	_, err = say(t.Context(), m, "crash")
	temporary(t, err, plugins.ErrEnded)
	for f.await(t, plugins.Ready).Restarts == 0 {
	}
	works(t, m)
}

func TestReopen_refuses(t *testing.T) {
	t.Run("a plugin that is not closed", func(t *testing.T) {
		p := newFixture(t, "well").start(t)
		if err := p.Reopen(t.Context()); err == nil || !strings.Contains(err.Error(), "it is not closed") {
			t.Error(err)
		}
		works(t, mechanism(t, p))
	})
	t.Run("one that is not what it was", func(t *testing.T) {
		f := newFixture(t, "counted") // its version is another one each time
		f.config.Env = append(f.config.Env, "TEST_COUNT="+t.TempDir()+"/count")
		p := f.start(t)
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // and it can be tried again
			err := p.Reopen(t.Context())
			e, ok := err.(*core.Error)
			if !ok || e.Stage != core.StageConfig || e.Class != core.Local || !strings.Contains(err.Error(), "it is not the same as before: it was counted 1") {
				t.Error(err)
			}
			if s := p.Status(); s.State != plugins.Closed || s.Err != err {
				t.Errorf("%+v", s)
			}
		}
	})
	t.Run("one whose binary is gone", func(t *testing.T) {
		f := newFixture(t, "well")
		f.config.Path = copyOf(t, f.config.Path)
		p := f.start(t)
		if err := errors.Join(p.Close(t.Context()), os.Remove(f.config.Path)); err != nil {
			t.Fatal(err)
		}
		if err := p.Reopen(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// Close ends what is only being opened.
func TestReopen_isClosedMeanwhile(t *testing.T) {
	f := newFixture(t, "well")
	starts := make(chan struct{}, 1)
	var p *plugins.Plugin
	closed := make(chan error, 1)
	f.config.Observe = func(s plugins.Status) {
		select {
		case <-starts:
			go func() { closed <- p.Close(context.Background()) }()
		default:
		}
	}
	p = f.start(t)
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	starts <- struct{}{}
	err := p.Reopen(t.Context()) // before or after it is ready
	if e, ok := err.(*core.Error); err != nil && (!ok || e.Class != core.Temporary || !errors.Is(err, context.Canceled)) {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if s := p.Status(); s.State != plugins.Closed {
		t.Errorf("%+v", s)
	}
}

func TestReopenAll(t *testing.T) {
	one, other := newFixture(t, "well"), newFixture(t, "well")
	other.config.Path = copyOf(t, other.config.Path)
	list, err := plugins.StartAll(t.Context(), one.config, other.config)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := plugins.CloseAll(t.Context(), list...); err != nil {
			t.Error(err)
		}
		if err := plugins.ReopenAll(t.Context(), list...); err != nil {
			t.Fatal(err)
		}
		works(t, mechanism(t, list[0]))
		works(t, mechanism(t, list[1]))
	}
	// The fixture of the other one sees that nothing is left of it.
	if err := errors.Join(plugins.CloseAll(t.Context(), list...), os.Remove(other.config.Path)); err != nil {
		t.Fatal(err)
	}
	if err := plugins.ReopenAll(t.Context(), list...); err == nil || !strings.Contains(err.Error(), "plugin plugin: ") {
		t.Error(err)
	}
}

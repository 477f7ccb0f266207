//go:build unix

package plugins_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/transport"
)

func TestRestart_budget(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Restart.Budget = 2
	p := f.start(t)
	m := mechanism(t, p)
	for range 2 {
		s := f.await(t, plugins.Ready)
		kill(t, s.PID, syscall.SIGKILL)
		if s := f.await(t, plugins.BackingOff); !errors.Is(s.Err, plugins.ErrEnded) || s.PID != 0 {
			t.Errorf("%+v", s)
		}
	}
	s := f.await(t, plugins.Ready)
	if s.Restarts != 2 {
		t.Errorf("%+v", s)
	}
	kill(t, s.PID, syscall.SIGKILL)
	f.await(t, plugins.Disabled)
	_, err := say(t.Context(), m, "hello")
	temporary(t, err, plugins.ErrDown)
	temporary(t, err, plugins.ErrEnded)
	if !strings.Contains(err.Error(), "it is not running: disabled until Enable is called, because of this: its process ended: signal: killed") {
		t.Error(err)
	}
	p.Enable()
	for range 2 {
		kill(t, f.await(t, plugins.Ready).PID, syscall.SIGKILL)
		f.await(t, plugins.BackingOff) // it has the whole budget
	}
	f.await(t, plugins.Ready)
	works(t, m)
}

func TestRestart_noBudgetAtAll(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Restart.Budget = -1
	f.start(t)
	kill(t, f.await(t, plugins.Ready).PID, syscall.SIGKILL)
	f.await(t, plugins.Disabled)
}

func TestRestart_failsFastWhileDown(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Restart.Initial, f.config.Restart.Max = time.Hour, time.Hour
	p := f.start(t)
	m := mechanism(t, p)
	kill(t, f.await(t, plugins.Ready).PID, syscall.SIGKILL)
	s := f.await(t, plugins.BackingOff)
	if s.Next < 30*time.Minute {
		t.Errorf("%+v", s)
	}
	_, err := say(t.Context(), m, "hello")
	temporary(t, err, plugins.ErrDown)
	key, err := p.Signer("key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(nil, make([]byte, 32), nil); core.ClassOf(err) != core.Temporary || !errors.Is(err, plugins.ErrDown) {
		t.Error(err)
	}
}

// Health is asked by a call that has a deadline, and a process that is stopped is
// killed from outside: go-plugin's Ping and Kill would wait for it.
func TestHealth_aProcessThatIsStoppedIsReplaced(t *testing.T) {
	f := newFixture(t, "well")
	f.config.HealthInterval, f.config.HealthTimeout = 50*time.Millisecond, 200*time.Millisecond
	p := f.start(t)
	m := mechanism(t, p)
	kill(t, f.await(t, plugins.Ready).PID, syscall.SIGSTOP)
	if s := f.await(t, plugins.BackingOff); !errors.Is(s.Err, plugins.ErrLate) {
		t.Error(s.Err)
	}
	f.await(t, plugins.Ready)
	works(t, m)
}

func TestClose_aProcessThatIsStoppedIsKilled(t *testing.T) {
	f := newFixture(t, "well")
	p, err := plugins.Start(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	m := mechanism(t, p)
	kill(t, f.await(t, plugins.Ready).PID, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	for range 2 {
		if err := p.Close(ctx); !errors.Is(err, plugins.ErrLate) {
			t.Error(err)
		}
	}
	_, err = say(t.Context(), m, "hello")
	temporary(t, err, plugins.ErrDown)
	if s := p.Status(); s.State != plugins.Closed {
		t.Errorf("%+v", s)
	}
}

func TestClose_letsWhatIsBeingAskedBeAnswered(t *testing.T) {
	f := newFixture(t, "well")
	p := f.start(t)
	a, _, err := mechanism(t, p).Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		closed <- p.Close(ctx)
	}()
	f.await(t, plugins.Closed)
	if got, err := a.Next(t.Context(), []byte("hello")); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := a.Done(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestClose_whileItBacksOff(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Restart.Initial, f.config.Restart.Max = time.Hour, time.Hour
	f.start(t)
	kill(t, f.await(t, plugins.Ready).PID, syscall.SIGKILL)
	f.await(t, plugins.BackingOff)
}

// A plugin that is another one after a restart is not used.
func TestRestart_itHasChanged(t *testing.T) {
	f := newFixture(t, "counted")
	f.config.Env = append(f.config.Env, "TEST_COUNT="+filepath.Join(t.TempDir(), "count"))
	p := f.start(t)
	kill(t, f.await(t, plugins.Ready).PID, syscall.SIGKILL)
	s := f.await(t, plugins.Disabled)
	if s.Err == nil || !strings.Contains(s.Err.Error(), "it was counted 1, and calls itself counted 2 now") {
		t.Error(s.Err)
	}
	_, err := say(t.Context(), mechanism(t, p), "hello")
	temporary(t, err, plugins.ErrDown)
}

// kill -9 while a hundred sends are under way.
func TestRestart_aHundredSendsAreAccountedFor(t *testing.T) {
	f := newFixture(t, "well")
	p := f.start(t)
	const sends = 100
	var asked atomic.Int32
	half := make(chan struct{})
	server := smtptest.NewServer(t, smtptest.ServerOptions{
		RequireAuth: true,
		Mechanisms: map[string]smtptest.AuthFunc{"X-TEST": func(responses [][]byte) smtptest.AuthStep {
			if len(responses) == 1 {
				if asked.Add(1) == sends/2 {
					close(half)
				}
				return smtptest.AuthStep{Challenge: []byte("hello")}
			}
			return smtptest.AuthStep{User: "ann"}
		}},
	})
	client, err := core.NewClient(core.Config{
		Endpoint: server.URL(), Transports: transport.Standard(), Auth: []core.Mechanism{mechanism(t, p)},
		MaxSessions: sends / 10, IdleTimeout: -1, // an AUTH for each
		AllowInsecureAuth: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	pid := f.await(t, plugins.Ready).PID
	go func() {
		<-half
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}()
	var accepted, failed atomic.Int32
	var sending sync.WaitGroup
	for range sends {
		sending.Go(func() {
			receipt, err := client.Send(t.Context(), message())
			switch {
			case err == nil && receipt.Count(core.Accepted) == 1:
				accepted.Add(1)
			case receipt.Count(core.Deferred) == 1 && core.ClassOf(err) == core.Temporary:
				if _, ok := errors.AsType[*plugins.Error](err); !ok {
					t.Errorf("it is not the plugin's failure: %v", err)
				}
				failed.Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	sending.Wait()
	if accepted.Load()+failed.Load() != sends || int(accepted.Load()) != len(server.Messages()) {
		t.Errorf("%d accepted and %d failed of %d, and the server has %d", accepted.Load(), failed.Load(), sends, len(server.Messages()))
	}
	if accepted.Load() == 0 || failed.Load() == 0 {
		t.Errorf("it was not in the middle: %d accepted, %d failed", accepted.Load(), failed.Load())
	}
	f.await(t, plugins.BackingOff)
	f.await(t, plugins.Ready)
	if _, err := client.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
}

func message() *core.Message {
	return &core.Message{
		From: "ann@example.com", To: core.Recipients("bob@example.net"),
		Body: core.String("From: ann@example.com\r\nSubject: hello\r\n\r\nhi\r\n"),
	}
}

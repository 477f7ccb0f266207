//go:build unix

package plugins_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

func TestPlugin_answers(t *testing.T) {
	f := newFixture(t, "well")
	f.config.SHA256 = checksum(t, f.config.Path)
	p := f.start(t)
	works(t, mechanism(t, p))
	if s := p.Status(); s.State != plugins.Ready || s.PID == 0 || s.Err != nil {
		t.Errorf("%+v", s)
	}
	if a := p.About(); a.Name != "well" || strings.Join(a.Mechanisms, " ") != "X-TEST" || strings.Join(a.Signers, " ") != "key" {
		t.Errorf("%+v", a)
	}
	if _, err := p.Mechanism("X-OTHER"); err == nil || !strings.Contains(err.Error(), "X-TEST") {
		t.Error(err)
	}
}

// What a call ends with, and whether the process is another one afterwards.
func TestCall_fails(t *testing.T) {
	for _, tt := range []struct {
		rule, challenge string
		kind            error
		restarts        bool
	}{
		{"E15 it dies mid-challenge", "crash", plugins.ErrEnded, true},
		{"E15 it hangs", "hang", plugins.ErrLate, false},
		{"E15 it answers after the deadline", "late", plugins.ErrLate, false},
		{"it is stopped by SIGSTOP", "stop", plugins.ErrLate, true},
		{"E15 it returns 100 MB", "large", plugins.ErrBroken, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, "well")
			f.config.CallTimeout = 500 * time.Millisecond
			f.config.HealthTimeout = 500 * time.Millisecond
			f.config.StopTimeout = 200 * time.Millisecond
			if tt.challenge == "large" {
				f.config.CallTimeout = patience
			}
			p, err := plugins.Start(t.Context(), f.config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close(context.Background()) }() // one that hangs is killed
			m := mechanism(t, p)
			f.await(t, plugins.Ready)
			pid := p.Status().PID
			_, err = say(t.Context(), m, tt.challenge)
			temporary(t, err, tt.kind)
			if tt.restarts {
				if err := f.await(t, plugins.BackingOff).Err; !errors.Is(err, tt.kind) {
					t.Error(err)
				}
				f.await(t, plugins.Ready)
			}
			if now := p.Status().PID; (now != pid) != tt.restarts {
				t.Errorf("process %d, and then %d", pid, now)
			}
			works(t, m)
		})
	}
}

func TestCall_endsWithItsContext(t *testing.T) {
	f := newFixture(t, "well")
	f.config.StopTimeout = 100 * time.Millisecond
	p, err := plugins.Start(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(context.Background()) }()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer wanted")
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	_, err = say(ctx, mechanism(t, p), "hang")
	temporary(t, err, context.Canceled)
	temporary(t, err, why)
	works(t, mechanism(t, p))
}

func TestCall_otherPluginsAreUntouched(t *testing.T) {
	one, other := newFixture(t, "well"), newFixture(t, "well")
	dying, well := mechanism(t, one.start(t)), mechanism(t, other.start(t))
	a, _, err := well.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = say(t.Context(), dying, "crash")
	temporary(t, err, plugins.ErrEnded)
	if got, err := a.Next(t.Context(), []byte("hello")); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := a.Done(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCall_aPanicIsContained(t *testing.T) {
	f := newFixture(t, "well")
	p := f.start(t)
	pid := p.Status().PID
	_, err := say(t.Context(), mechanism(t, p), "panic")
	if e, ok := err.(*core.Error); !ok || e.Class != core.Temporary || strings.Contains(err.Error(), "oh") {
		t.Error(err)
	}
	works(t, mechanism(t, p))
	if p.Status().PID != pid {
		t.Error("the process is another one")
	}
}

// An error of the mechanism is as it is in process.
func TestCall_aRefusalKeepsItsClass(t *testing.T) {
	m := mechanism(t, newFixture(t, "well").start(t))
	_, err := say(t.Context(), m, "fail the card is void")
	e, ok := err.(*core.Error)
	if !ok || e.Class != core.Permanent || e.Hint != "do better" || !errors.Is(err, core.ErrCredentials) || !strings.Contains(err.Error(), "X-TEST: the server does not accept the credentials: the card is void") {
		t.Errorf("%#v", err)
	}
	if _, err = say(t.Context(), m, "refuse no card"); core.ClassOf(err) != core.Local || !strings.Contains(err.Error(), "no card") {
		t.Error(err)
	}
}

func TestCheckPeer(t *testing.T) {
	f := newFixture(t, "well")
	f.config.Restart.Budget = -1
	p := f.start(t)
	m := mechanism(t, p).(core.PeerChecker)
	if err := m.CheckPeer(&core.Peer{Domain: "unsuited.example"}); !errors.Is(err, core.ErrNotSupported) {
		t.Error(err)
	}
	if err := m.CheckPeer(&core.Peer{Domain: "server.example"}); err != nil {
		t.Error(err)
	}
	// Else a plugin that crashes would have the client choose a weaker mechanism.
	kill(t, p.Status().PID, syscall.SIGKILL)
	f.await(t, plugins.Disabled)
	if err := m.CheckPeer(&core.Peer{Domain: "unsuited.example"}); err != nil {
		t.Errorf("a plugin that is down unsuits the mechanism: %v", err)
	}
}

func TestPlugin_floodsItsOutput(t *testing.T) {
	f := newFixture(t, "well")
	m := mechanism(t, f.start(t))
	if got, err := say(t.Context(), m, "flood"); got != "flood" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	works(t, m)
	if n := strings.Count(f.log.String(), "\n"); n > 2000 {
		t.Errorf("%d lines were logged", n)
	}
}

func TestPlugin_whatItPrintsIsLogged(t *testing.T) {
	f := newFixture(t, "well")
	p := f.start(t)
	// go-plugin's reader of such a line panics in the host.
	if _, err := say(t.Context(), mechanism(t, p), `print {"@message":1}`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`level=ERROR msg="{\"@message\":1}" plugin=plugins.test n=1`,
		`level=INFO msg="the plugin prints" plugin=plugins.test source=stdout line="{\"@message\":1}"`,
		`level=INFO msg="the plugin prints" plugin=plugins.test source=stderr line="{\"@message\":1}"`,
	} {
		f.log.await(t, want)
	}
}

func TestPlugin_environmentAndArgumentsAreTheConfigured(t *testing.T) {
	t.Setenv("SECRET_OF_THE_HOST", "hunter2")
	f := newFixture(t, "well")
	got, err := say(t.Context(), mechanism(t, f.start(t)), "environment")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for variable := range strings.SplitSeq(got, "\x00") {
		if name, _, _ := strings.Cut(variable, "="); !strings.HasPrefix(name, "PLUGIN_") {
			names = append(names, name)
		}
	}
	if want := "TEST_PLUGIN POSTRIDER_PLUGIN TMPDIR"; strings.Join(names, " ") != want {
		t.Errorf("%s, want %s", names, want)
	}
}

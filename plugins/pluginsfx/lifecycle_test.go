//go:build unix

package pluginsfx_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/pluginsfx"
	"github.com/postrider/postrider/transport/transportfx"
)

// Each of two plugins serves only when the other one runs, in fx.New as at the start.
func TestStart_inParallel(t *testing.T) {
	f := newFixture(t)
	path := pipe(t)
	c := pluginsfx.Config{Observe: f.states.add}
	for _, role := range []string{"reader", "writer"} {
		d := f.declare(t, "meeting", "TEST_PIPE="+path, "TEST_ROLE="+role)
		d.Name, d.Path = "", copyOf(t, d.Path, role)
		c.Plugins = append(c.Plugins, d)
	}
	app := fx.New(pluginsfx.Module, fx.NopLogger, fx.Supply(c, f.logger()), fx.Invoke(func(*pluginsfx.Set) {}))
	if err := errors.Join(app.Start(t.Context()), app.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"reader", "writer"} {
		if got := f.states.of(role); got != "starting, ready, closed, starting, ready, closed" {
			t.Errorf("%s: %s", role, got)
		}
	}
}

// events calls a function when fx is about to stop something.
type events func(name string)

func (e events) LogEvent(event fxevent.Event) {
	if s, ok := event.(*fxevent.OnStopExecuting); ok {
		e(s.FunctionName)
	}
}

// held is content that is written when it may be.
type held struct{ began, may chan struct{} }

// WriteTo implements io.WriterTo, for core.Render.
func (h *held) WriteTo(w io.Writer) (int64, error) {
	close(h.began)
	<-h.may
	n, err := io.WriteString(w, content)
	return int64(n), err
}

// A message that is being sent has its signature, although the application is being
// stopped when it asks the plugin for that.
func TestStop_messagesEndBeforeThePlugins(t *testing.T) {
	f := newFixture(t)
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	body := &held{began: make(chan struct{}), may: make(chan struct{})}
	c := f.config(t, "keys")
	accepted := -1 // when the plugin ends for good
	c.Observe = func(_ string, s plugins.Status) {
		if s.State == plugins.Closed {
			accepted = len(server.Messages())
		}
	}
	var stopped []string
	var client *core.Client
	app := fx.New(corefx.Module, pluginsfx.Module, transportfx.Module,
		fx.Supply(c, f.logger()), fx.Provide(func() core.Config { return core.Config{Endpoint: server.URL()} }),
		corefx.AsInterceptor(corefx.Transform, newDKIM), fx.Populate(&client),
		fx.WithLogger(func() fxevent.Logger {
			return events(func(name string) {
				stopped = append(stopped, name[strings.LastIndexByte(name, '/')+1:])
				if len(stopped) == 1 {
					close(body.may)
				}
			})
		}))
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := client.Send(t.Context(), message(core.Render(body, 0)))
		sent <- err
	}()
	<-body.began
	if err := app.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if accepted != 1 {
		t.Errorf("when the plugin ended, %d messages were accepted", accepted)
	}
	if len(stopped) != 2 || !strings.Contains(stopped[0], "Shutdown") || !strings.HasPrefix(stopped[1], "pluginsfx.(*Set).Stop") {
		t.Errorf("stopped were %v", stopped)
	}
}

// The fixture sees that nothing is left running.
func TestFailure(t *testing.T) {
	broken := errors.New("the database is not there")
	fails := func() error { return broken }
	for _, tt := range []struct {
		rule    string
		options fx.Option
		state   string // of the plugin
	}{
		{"another constructor fails after the set is made", fx.Invoke(func(*core.Client) error { return broken }), "starting, ready, closed"},
		{"a hook fails before the set is started", fx.Options(
			fx.Invoke(func(l fx.Lifecycle) { l.Append(fx.StartHook(fails)) }), fx.Invoke(func(*core.Client) {}),
		), "starting, ready, closed"},
		{"a hook fails after the set was started", fx.Options(
			fx.Invoke(func(l fx.Lifecycle, _ *core.Client) { l.Append(fx.StartHook(fails)) }),
		), "starting, ready, closed, starting, ready, closed"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t)
			app := fx.New(corefx.Module, pluginsfx.Module, transportfx.Module, fx.NopLogger, tt.options,
				fx.Supply(f.config(t, "auth"), f.logger(), core.Config{Endpoint: "smtp://127.0.0.1"}))
			if err := app.Start(t.Context()); !errors.Is(err, broken) {
				t.Error(err)
			}
			f.nothingRuns(t)
			if got := f.states.of("auth"); got != tt.state {
				t.Errorf("the plugin was %s", got)
			}
		})
	}
	t.Run("the application is never started", func(t *testing.T) {
		f := newFixture(t)
		if err := fx.New(pluginsfx.Module, fx.NopLogger, fx.Supply(f.config(t, "auth"), f.logger()), fx.Invoke(func(*pluginsfx.Set) {})).Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("the start has no time", func(t *testing.T) {
		f := newFixture(t)
		app := fx.New(pluginsfx.Module, fx.NopLogger, fx.Supply(f.config(t, "auth"), f.logger()), fx.Invoke(func(*pluginsfx.Set) {}))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := app.Start(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// One of two plugins cannot be started, or is not what fx.New has seen.
func TestFailure_ofOnePluginAtTheStart(t *testing.T) {
	for _, tt := range []struct {
		rule, mode string
		between    func(path string) error // fx.New and the start
		says       string
	}{
		{"its binary is gone", "keys", os.Remove, "plugin other: "},
		{"its binary is another program", "keys", func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("#!/bin/sh\necho hello\n"), 0o700))
		}, "plugin other: it is no plugin of this kind"},
		{"it has something else", "changing", func(string) error { return nil }, "plugin other: it is not the same as before"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t)
			c := f.config(t, "auth", tt.mode)
			other := &c.Plugins[1]
			other.Name, other.Path = "", copyOf(t, other.Path, "other")
			app := fx.New(pluginsfx.Module, fx.NopLogger, fx.Supply(c, f.logger()), fx.Invoke(func(*pluginsfx.Set) {}))
			if err := errors.Join(app.Err(), tt.between(other.Path)); err != nil {
				t.Fatal(err)
			}
			err := app.Start(t.Context())
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Stage != core.StageConfig || !strings.Contains(err.Error(), tt.says) {
				t.Error(err)
			}
			if strings.Contains(err.Error(), "plugin auth") {
				t.Errorf("it names the other one: %v", err)
			}
			f.nothingRuns(t)
			if got := f.states.of("auth"); got != "starting, ready, closed, starting, ready, closed" {
				t.Errorf("the other plugin was %s", got)
			}
		})
	}
}

// copyOf copies a program to a folder that others cannot enter.
func copyOf(t *testing.T, path, name string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "pf") // 0700
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	to := filepath.Join(folder, name)
	if err := os.WriteFile(to, data, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

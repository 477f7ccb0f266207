//go:build unix

package plugins_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// patience is a watchdog: what takes longer does not come.
const patience = 30 * time.Second

// fixture starts plugins, and sees that nothing is left of them.
type fixture struct {
	config plugins.Config
	states chan plugins.Status
	log    *output
}

// output is a log that can be read while it is written.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.written <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

// await waits until the log has a text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	watchdog := time.After(patience)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.written:
		case <-watchdog:
			t.Fatalf("no %s in\n%s", text, o)
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newFixture declares the test binary as a plugin of a mode.
func newFixture(t *testing.T, mode string) *fixture {
	t.Helper()
	before, threads := descriptors(t), goleak.IgnoreCurrent()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("/tmp", "pp") // whose name is short on each system
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{states: make(chan plugins.Status, 1000), log: &output{written: make(chan struct{}, 1)}}
	f.config = plugins.Config{
		Path: self, Env: []string{modeVariable + "=" + mode}, RuntimeDir: folder,
		Log:         slog.New(slog.NewTextHandler(f.log, nil)),
		Observe:     func(s plugins.Status) { f.states <- s },
		StopTimeout: 5 * time.Second,
		Restart:     plugins.Restart{Initial: time.Millisecond, Max: 10 * time.Millisecond},
	}
	t.Cleanup(func() {
		if err := goleak.Find(threads); err != nil {
			t.Error(err)
		}
		if after := descriptors(t); len(after) > len(before) {
			t.Errorf("descriptors are left: %v, and before there were %v", after, before)
		}
		if left := processes(t, folder); len(left) > 0 {
			t.Errorf("processes are left: %v", left)
		}
		entries, err := os.ReadDir(folder)
		if err != nil || len(entries) > 0 {
			t.Errorf("files are left: %v, %v", entries, err)
		}
		_ = os.RemoveAll(folder)
	})
	return f
}

// start starts the plugin; it is closed at the end of the test.
func (f *fixture) start(t *testing.T) *plugins.Plugin {
	t.Helper()
	p, err := plugins.Start(t.Context(), f.config)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

// await waits until the plugin comes to a state.
func (f *fixture) await(t *testing.T, state plugins.State) plugins.Status {
	t.Helper()
	watchdog := time.After(patience)
	for {
		select {
		case s := <-f.states:
			if s.State == state {
				return s
			}
		case <-watchdog:
			t.Fatalf("it does not come to the state %v\n%s", state, f.log)
		}
	}
}

// startError starts a plugin that cannot be started.
func (f *fixture) startError(t *testing.T) *core.Error {
	t.Helper()
	p, err := plugins.Start(t.Context(), f.config)
	if err == nil {
		_ = p.Close(t.Context())
		t.Fatal("it was started")
	}
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Stage != core.StageConfig {
		t.Fatalf("%T %v", err, err)
	}
	return e
}

func mechanism(t *testing.T, p *plugins.Plugin) core.Mechanism {
	t.Helper()
	m, err := p.Mechanism("X-TEST")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// say runs one AUTH with one challenge.
func say(ctx context.Context, m core.Mechanism, challenge string) (string, error) {
	a, _, err := m.Start(ctx, &core.Peer{ServerName: "server.example"})
	if err != nil {
		return "", err
	}
	response, err := a.Next(ctx, []byte(challenge))
	if err != nil {
		return "", err
	}
	return string(response), a.Done(ctx)
}

// works sees that the plugin answers.
func works(t *testing.T, m core.Mechanism) {
	t.Helper()
	if got, err := say(t.Context(), m, "hello"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// temporary checks that an error is the one that a plugin's failure is to be.
func temporary(t *testing.T, err, kind error) {
	t.Helper()
	temporaryAt(t, core.StageAuth, err, kind)
}

func temporaryAt(t *testing.T, stage core.Stage, err, kind error) {
	t.Helper()
	e, ok := err.(*core.Error)
	if !ok || e.Stage != stage || e.Class != core.Temporary || !errors.Is(err, kind) {
		t.Errorf("%T %v, want one of the kind %v", err, err, kind)
		return
	}
	if p, ok := errors.AsType[*plugins.Error](err); !ok || !strings.Contains(err.Error(), "plugin "+p.Plugin+": ") {
		t.Errorf("it does not name the plugin: %v", err)
	}
}

// descriptors returns the open files of this process.
func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil // not on this system
	}
	var open []string
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(to, "/proc/") && !strings.Contains(to, "pidfd") {
			open = append(open, to)
		}
	}
	return open
}

// processes returns the processes that run from a folder.
func processes(t *testing.T, folder string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, folder) {
			found = append(found, link)
		}
	}
	return found
}

func checksum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

//go:build unix

package pluginsfx_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/pluginsfx"
	"github.com/postrider/postrider/plugins/sdk"
)

// modeVariable has the test binary be a plugin. Its value says which.
const modeVariable = "TEST_PLUGIN"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" {
		serve(mode)
		return
	}
	goleak.VerifyTestMain(m)
}

// serve is the main function of the plugins.
func serve(mode string) {
	info := sdk.Info(mode, "1")
	switch mode {
	case "auth":
		sdk.Logger().Info("at your service")
		sdk.Serve(info, sdk.Mechanism(mechanisms.Plain("ann", "correct horse")), sdk.Mechanism(unusable{"X-SPARE"}))
	case "keys":
		sdk.Serve(info, sdk.Signer("corp.example", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))))
	case "tunnels":
		sdk.Serve(info, sdk.Transport(tunnel{}))
	case "policy":
		sdk.Serve(info, sdk.Interceptor("audience", sdk.AdmitFunc(admit)), sdk.Interceptor("other", sdk.AdmitFunc(admit)))
	case "unusable":
		sdk.Serve(info, sdk.Mechanism(unusable{"X-UNUSABLE"}))
	case "meeting":
		meet()
		sdk.Serve(info, sdk.Signer(os.Getenv("TEST_ROLE"), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))))
	case "changing": // what it has is another thing the next time
		sdk.Serve(info, sdk.Signer(fmt.Sprint("process-", os.Getpid()), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))))
	default:
		os.Exit(7)
	}
}

// meet waits until another plugin runs that has the other role: to open a pipe waits
// for who opens its other end.
func meet() {
	how := os.O_RDONLY
	if os.Getenv("TEST_ROLE") == "writer" {
		how = os.O_WRONLY
	}
	f, err := os.OpenFile(os.Getenv("TEST_PIPE"), how, 0)
	if err != nil {
		os.Exit(7)
	}
	_ = f.Close()
}

// unusable is a mechanism that knows that it cannot work, if it has a reason.
type unusable struct{ name string }

func (u unusable) Name() string { return u.name }
func (u unusable) Check() error {
	if u.name == "X-UNUSABLE" {
		return errors.New("there is no card in the reader")
	}
	return nil
}
func (unusable) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, errors.New("not to be used")
}

// admit refuses messages to the whole company.
func admit(_ context.Context, m *sdk.Message) (sdk.Changes, error) {
	if m.To[0].Address == "everybody@example.net" {
		return sdk.Changes{}, errors.New("ask the audit team first")
	}
	return sdk.Changes{}, nil
}

// tunnel is a transport that dials the host of the URL.
type tunnel struct{}

func (tunnel) Scheme() string { return "test+tunnel" }
func (tunnel) Endpoint(u *url.URL) (core.Endpoint, error) {
	if u.Port() == "" {
		return core.Endpoint{}, errors.New("the URL has no port")
	}
	return core.Endpoint{Network: "tcp", Address: u.Host, ServerName: u.Hostname(), Local: true}, nil
}
func (tunnel) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(context.WithoutCancel(ctx), e.Network, e.Address)
}

// fixture declares plugins, and sees that nothing is left of them.
type fixture struct {
	folder string
	log    output
	states states
}

// output is a log that can be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// states has what Observe was told.
type states struct {
	mu   sync.Mutex
	seen []string
}

func (s *states) add(plugin string, status plugins.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, plugin+" "+status.State.String())
}

func (s *states) of(plugin string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, line := range s.seen {
		if rest, ok := strings.CutPrefix(line, plugin+" "); ok {
			list = append(list, rest)
		}
	}
	return strings.Join(list, ", ")
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	before, threads := descriptors(t), goleak.IgnoreCurrent()
	folder, err := os.MkdirTemp("/tmp", "pf") // whose name is short on each system
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{folder: folder}
	t.Cleanup(func() {
		f.nothingRuns(t)
		if err := goleak.Find(threads); err != nil {
			t.Error(err)
		}
		if after := descriptors(t); len(after) > len(before) {
			t.Errorf("descriptors are left: %v, and before there were %v", after, before)
		}
		_ = os.RemoveAll(folder)
	})
	return f
}

// nothingRuns sees that there is no process, and no file of one.
func (f *fixture) nothingRuns(t *testing.T) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, f.folder) {
			t.Errorf("a process is left: %s", link)
		}
	}
	entries, err := os.ReadDir(f.folder)
	if err != nil || len(entries) > 0 {
		t.Errorf("files are left: %v, %v", entries, err)
	}
}

// declare declares the test binary as a plugin of a mode.
func (f *fixture) declare(t *testing.T, mode string, env ...string) plugins.Declaration {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return plugins.Declaration{Config: plugins.Config{
		Path: self, Name: mode, Env: append(env, modeVariable+"="+mode), RuntimeDir: f.folder,
	}}
}

// config declares plugins of some modes.
func (f *fixture) config(t *testing.T, modes ...string) pluginsfx.Config {
	t.Helper()
	c := pluginsfx.Config{Observe: f.states.add}
	for _, mode := range modes {
		c.Plugins = append(c.Plugins, f.declare(t, mode))
	}
	return c
}

func (f *fixture) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&f.log, nil)) }

// pipe makes a named pipe.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
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

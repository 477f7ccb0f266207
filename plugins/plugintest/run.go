package plugintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms/mechanismtest"
	"github.com/postrider/postrider/plugins"
)

// Config says what there is to know of a plugin.
type Config struct {
	// Plugin is how a host declares it. Its Log and Observe are the kit's.
	Plugin plugins.Config
	// Mechanisms has, by name, what there is to know of each mechanism; New and
	// Blocked are the kit's, and so is New of the vectors, which are to be ones that
	// the plugin as it is configured gives. One that is not here is only started.
	Mechanisms map[string]mechanismtest.Config
	// Secrets are what it may not log, beside the secrets of the mechanisms.
	Secrets []string
	// Transports has, by URL scheme, what a transport is to reach. It returns a URL
	// and where the other ends of the connections to that come out; the listener is
	// closed when the test ends. Connections of a scheme that is not here are not
	// opened.
	Transports map[string]func(t testing.TB) (url string, listener net.Listener)
}

// Run checks a plugin as it was built, with some processes of it. Each rule is a
// subtest, whose name says the rule.
//
// It is not to run in parallel with tests that start goroutines.
func Run(t *testing.T, config Config) {
	t.Helper()
	k := &kit{Config: config}
	k.Plugin.Log = slog.New(slog.NewTextHandler(&k.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	k.Plugin.Observe = nil
	if !t.Run("it starts, and says what it is", k.starts) {
		t.Log("the other rules were not checked, because they need this one")
		return
	}
	t.Run("it says the same each time, also twice at a time", k.repeats)
	t.Run("it ends when it is asked to", k.ends)
	t.Run("it is there again after a kill", k.comesBack)
	t.Run("its mechanisms do not mind who gives up", k.givingUp)
	for _, name := range k.about.Signers {
		t.Run("signer "+name, func(t *testing.T) { k.signs(t, name) })
	}
	for _, name := range k.about.Interceptors {
		t.Run("interceptor "+name, func(t *testing.T) { k.intercepts(t, name) })
	}
	for _, name := range k.about.Mechanisms {
		if of, ok := k.Mechanisms[name]; ok {
			t.Run("mechanism "+name, func(t *testing.T) { k.authenticates(t, name, of) })
		}
	}
	for _, scheme := range k.about.Transports {
		t.Run("transport "+scheme, func(t *testing.T) { k.carries(t, scheme) })
	}
	t.Run("what it logs shows no secret", k.logsNoSecret)
	if t.Failed() {
		t.Logf("its log:\n%s", &k.log)
	}
}

// kit is one Run.
type kit struct {
	Config
	about plugins.About
	log   output
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

// start starts a process that ends with the test.
func (k *kit) start(t *testing.T) *plugins.Plugin {
	t.Helper()
	p, err := plugins.Start(t.Context(), k.Plugin)
	if err != nil {
		t.Fatalf("%v\nits log:\n%s", err, &k.log)
	}
	t.Cleanup(func() { k.close(t, p) })
	return p
}

func (k *kit) close(t *testing.T, p *plugins.Plugin) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
}

func (k *kit) starts(t *testing.T) {
	k.about = k.start(t).About()
	t.Logf("%s %s, mechanisms %v, signers %v, transports %v, interceptors %v",
		k.about.Name, k.about.Version, k.about.Mechanisms, k.about.Signers, k.about.Transports, k.about.Interceptors)
	for name := range k.Mechanisms {
		if !slices.Contains(k.about.Mechanisms, name) {
			t.Errorf("it has no mechanism %s", name)
		}
	}
	for scheme := range k.Transports {
		if !slices.Contains(k.about.Transports, scheme) {
			t.Errorf("it has no transport %s", scheme)
		}
	}
}

func (k *kit) repeats(t *testing.T) {
	for range 2 {
		if now := k.start(t).About(); fmt.Sprint(now) != fmt.Sprint(k.about) {
			t.Errorf("%v, and before it was %v", now, k.about)
		}
	}
}

func (k *kit) ends(t *testing.T) {
	p := k.start(t)
	began := time.Now()
	k.close(t, p)
	t.Logf("it took %v", time.Since(began))
}

func (k *kit) comesBack(t *testing.T) {
	states := make(chan plugins.Status, 16)
	config := k.Plugin
	config.Restart = plugins.Restart{Initial: time.Millisecond}
	config.Observe = func(s plugins.Status) { states <- s }
	p, err := plugins.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close(t, p)
	if err := end(p.Status().PID); err != nil {
		t.Fatal(err)
	}
	watchdog := time.After(patience)
	for {
		select {
		case s := <-states:
			if s.Restarts > 0 && s.State == plugins.Ready {
				return
			}
			if s.State == plugins.Disabled {
				t.Fatal(s.Err)
			}
		case <-watchdog:
			t.Fatalf("it is %v", p.Status())
		}
	}
}

// givingUp has mechanisms begin, and drops them.
func (k *kit) givingUp(t *testing.T) {
	p := k.start(t)
	pid := p.Status().PID
	for _, name := range k.about.Mechanisms {
		m, err := p.Mechanism(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			ctx, cancel := context.WithCancel(t.Context())
			a, _, err := m.Start(ctx, &core.Peer{ServerName: "server.example", Local: true})
			cancel()
			if c, ok := a.(io.Closer); ok {
				_ = c.Close()
			}
			if _, ok := errors.AsType[*plugins.Error](err); ok {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if now := p.Status().PID; now != pid {
		t.Errorf("process %d has become process %d", pid, now)
	}
}

// authenticates has a mechanism keep the rules that one in process keeps.
func (k *kit) authenticates(t *testing.T, name string, of mechanismtest.Config) {
	m, err := k.start(t).Mechanism(name)
	if err != nil {
		t.Fatal(err)
	}
	of.New = func(testing.TB) core.Mechanism { return m }
	of.Blocked = nil
	mechanismtest.Run(t, of)
}

func (k *kit) logsNoSecret(t *testing.T) {
	log, secrets := k.log.String(), slices.Clone(k.Secrets)
	for _, of := range k.Mechanisms {
		secrets = append(secrets, of.Secrets...)
	}
	for n, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("secret %d is in its log", n+1)
		}
	}
}

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins/sdk"
)

// pluginMode is the variable that makes a plugin of the test, of one mode.
const pluginMode = "MAILER_TEST_PLUGIN"

// servePlugin is the plugin. It returns in modes in which it does not serve.
func servePlugin(mode string) {
	token := func(context.Context, []byte) ([]byte, error) { return []byte("a ticket"), nil }
	switch mode {
	case "dies":
		os.Exit(7)
	case "junk":
		fmt.Println("Hello, world!")
	case "silent":
		select {}
	case "crashes": // in AUTH
		token = func(context.Context, []byte) ([]byte, error) { os.Exit(9); return nil, nil }
	case "hangs": // in AUTH
		token = func(ctx context.Context, _ []byte) ([]byte, error) {
			fmt.Fprintln(os.Stderr, "it hangs")
			<-ctx.Done()
			return nil, ctx.Err()
		}
	case "logs":
		sdk.Logger().Warn("the vault is slow", "seconds", 3)
	case "loyal": // to its host, whom it does not leave
		endless, _, err := os.Pipe()
		if err != nil {
			os.Exit(1)
		}
		os.Stdin = endless
	case "key":
		sdk.Serve(sdk.Info("test-key", "1.0"), sdk.Signer("example.com", testKey()))
	case "tunnel":
		sdk.Serve(sdk.Info("test-tunnel", "1.0"), sdk.Transport(tunnel{"test+tcp"}))
	case "smtp":
		sdk.Serve(sdk.Info("test-smtp", "1.0"), sdk.Transport(tunnel{"smtp"}))
	case "uneasy":
		sdk.Serve(sdk.Info("uneasy", "1.0"), sdk.Mechanism(uneasy{mechanisms.Func("X-TEST", token)}))
	case "policy":
		sdk.Serve(sdk.Info("corp", "1.0"), sdk.Interceptor("policy", sdk.AdmitFunc(admit)), sdk.Interceptor("stamp", sdk.AdmitFunc(stamp)))
	case "password":
		sdk.Serve(sdk.Info("test-password", "1.0"), sdk.Mechanism(mechanisms.Plain("me", "secret")))
	}
	sdk.Serve(sdk.Info("test", "1.0"), sdk.Mechanism(mechanisms.Func("X-TEST", token)), sdk.Signer("key", testKey()))
}

func testKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

// tunnel is a transport that reaches test+tcp://host:port; with ?remote it is not on
// this machine.
type tunnel struct{ scheme string }

func (t tunnel) Scheme() string { return t.scheme }

func (tunnel) Endpoint(u *url.URL) (core.Endpoint, error) {
	if u.Port() == "" {
		return core.Endpoint{}, errors.New("the tunnel needs a port")
	}
	return core.Endpoint{URL: u.String(), Network: "tcp", Address: u.Host, ServerName: u.Hostname(), Local: u.RawQuery != "remote"}, nil
}

func (tunnel) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, e.Network, e.Address)
}

// admit refuses one, redirects another, puts off a third, and fails of a fourth.
func admit(_ context.Context, m *sdk.Message) (sdk.Changes, error) {
	changes := sdk.Changes{Refuse: map[int]error{}, Redirect: map[int]string{}}
	for n, to := range m.To {
		switch to.Address {
		case "refused@example.net":
			changes.Refuse[n] = &core.Error{Class: core.Permanent, Err: errors.New("nobody writes to them")}
		case "deferred@example.net":
			changes.Refuse[n] = &core.Error{Class: core.Temporary, Err: errors.New("not today")}
		case "old@example.net":
			changes.Redirect[n] = "new@example.net"
		case "crash@example.net":
			os.Exit(9)
		}
	}
	return changes, nil
}

func stamp(context.Context, *sdk.Message) (sdk.Changes, error) {
	return sdk.Changes{Header: []sdk.Field{{Name: "X-Stamp", Value: "seen"}}}, nil
}

// uneasy is a mechanism that cannot be used.
type uneasy struct{ core.Mechanism }

func (uneasy) Check() error { return errors.New("it has no key") }

// tickets is a server that takes what X-TEST shows, and nobody without.
func tickets() smtptest.ServerOptions {
	return smtptest.ServerOptions{RequireAuth: true, Mechanisms: map[string]smtptest.AuthFunc{"X-TEST": func(responses [][]byte) smtptest.AuthStep {
		if len(responses) == 0 || string(responses[0]) != "a ticket" {
			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no")}
		}
		return smtptest.AuthStep{User: "me"}
	}}}
}

// self is the path of the test, and checksum what it has.
func self(t *testing.T) (path, checksum string) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(content))
}

// plugin is a declaration of the test as a plugin, with more fields.
func plugin(t *testing.T, mode string, more ...string) string {
	t.Helper()
	path, _ := self(t)
	// With the race detector a process ends a second late, unless it is told not to.
	return fmt.Sprintf(`{"path":%q,"env":["%s=%s","GORACE=atexit_sleep_ms=0"]%s}`, path, pluginMode, mode, strings.Join(append([]string{""}, more...), ","))
}

// declaring makes a configuration file that declares plugins, and has more.
func declaring(t *testing.T, plugins string, more ...string) string {
	t.Helper()
	return file(t, fmt.Sprintf(`{"plugins":[%s]%s}`, plugins, strings.Join(append([]string{""}, more...), ",")))
}

// private gives the runs of a test a folder of their own for what is temporary, and
// returns a function that sees that nothing is left in it, and no process of it.
func private(t *testing.T) (nothingLeft func()) {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "mt") // whose name is short: it will have sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", folder)
	return func() {
		t.Helper()
		left, err := filepath.Glob(filepath.Join(folder, "postrider-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Error(err)
		}
		for _, name := range processes {
			if command, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(command), folder) {
				t.Errorf("%s runs %q", name, command)
			}
		}
	}
}

// found reads the lines of plugin list -json and plugin verify -json.
func (r ran) found(t *testing.T) (list []pluginFinding) {
	t.Helper()
	for line := range strings.Lines(r.stdout) {
		var f pluginFinding
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&f); err != nil {
			t.Fatalf("%v in the line %q", err, line)
		}
		list = append(list, f)
	}
	return list
}

package plugins_test

import (
	"bytes"
	"context"
	"crypto"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
)

// shown is all that somebody could see of a plugin and of its host, by where.
type shown map[string][]byte

// add notes values, in each way in which package fmt prints them. Errors are opened to
// the last one that they wrap.
func (s shown) add(where string, values ...any) {
	for _, v := range values {
		s[where] = fmt.Appendf(s[where], "%v\n%+v\n%#v\n", v, v, v)
		err, ok := v.(error)
		if !ok {
			continue
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				s.add(where, inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				s.add(where, inner)
			}
		}
	}
}

// addProcess notes what other users' programs, and those of the host's, can see of a
// process.
func (s shown) addProcess(t *testing.T, pid int) {
	t.Helper()
	for _, name := range []string{"cmdline", "environ"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil || len(data) == 0 {
			t.Fatal(name, err)
		}
		s[fmt.Sprintf("%s of process %d", name, pid)] = data
	}
}

// search sees that no secret is shown.
func (s shown) search(t *testing.T, secrets map[string][]byte) {
	t.Helper()
	for where, text := range s {
		for name, secret := range secrets {
			for how, form := range forms(secret) {
				if bytes.Contains(text, []byte(form)) {
					t.Errorf("%s shows the %s, %s", where, name, how)
				}
			}
		}
	}
}

// No secret passes through arguments, environment or logs: not when a plugin
// authenticates and signs, not when it or the server says no, and not when it crashes,
// hangs, is killed or is down.
func TestSecrets_areNotShown(t *testing.T) {
	known := secrets{Password: crand.Text(), Seed: make([]byte, 32)} // of this run: no binary has them
	_, _ = crand.Read(known.Seed)                                    // it does not fail
	hosts := crand.Text()
	t.Setenv("HOSTS_SECRET", hosts)
	record := filepath.Join(t.TempDir(), "record")
	t.Setenv("POSTRIDER_TEST_RECORD", record)
	f := secretFixture(t, known)
	p, err := plugins.Start(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(context.Background()) }() // one that hangs is killed

	all := shown{}
	all.addProcess(t, f.await(t, plugins.Ready).PID)
	var auth []core.Mechanism
	for _, name := range []string{"PLAIN", "SCRAM-SHA-256"} {
		m, err := p.Mechanism(name)
		if err != nil {
			t.Fatal(err)
		}
		auth = append(auth, m)
	}
	for _, m := range auth {
		for password, refused := range map[string]bool{known.Password: false, "another one": true} {
			receipt, err := deliverTo(t, password, m)
			if errors.Is(err, core.ErrCredentials) != refused || !refused && err != nil {
				t.Errorf("%s: %v", m.Name(), err)
			}
			all.add("what a delivery returns", receipt, *receipt, err)
		}
	}
	fail(t, f, p, all)
	all.addProcess(t, p.Status().PID) // another one than at first
	sign(t, p, all)
	all.add("the values", p, f.config, p.About(), p.Status(), auth[0], auth[1])
	if err := p.Close(t.Context()); err != nil {
		all.add("errors", err)
	}
	_, err = say(t.Context(), auth[0], "")
	temporary(t, err, plugins.ErrDown)
	all.add("errors", err)

	all["the log"] = []byte(f.log.String())
	if all["the record of the client"], err = os.ReadFile(record); err != nil {
		t.Fatal(err)
	}
	for where, has := range map[string]string{
		"the log": "the secrets were read", "the record of the client": "AUTH PLAIN [redacted]", "errors": "its process ended",
	} {
		if !strings.Contains(string(all[where]), has) {
			t.Errorf("%s has no %q, so that nothing can be found there:\n%s", where, has, all[where])
		}
	}
	all.search(t, map[string][]byte{"password": []byte(known.Password), "key": known.Seed, "secret of the host": []byte(hosts)})
}

// secretFixture declares a plugin that has secrets, and logs as much as it can.
func secretFixture(t *testing.T, known secrets) *fixture {
	t.Helper()
	data, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, "secrets")
	f.config.Env = append(f.config.Env, "TEST_SECRETS="+file, "GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99")
	f.config.Log = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.config.CallTimeout, f.config.StopTimeout = 5*time.Second, 100*time.Millisecond
	return f
}

// deliverTo sends a message to a server that knows a password.
func deliverTo(t *testing.T, password string, m core.Mechanism) (*core.Receipt, error) {
	t.Helper()
	server := smtptest.NewServer(t, smtptest.ServerOptions{
		StartTLS: true, RequireAuth: true, Users: map[string]string{"ann": password}, SCRAM: []string{"SCRAM-SHA-256"},
	})
	config := server.Config()
	config.Auth = []core.Mechanism{m}
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	return client.Send(t.Context(), &core.Message{From: "ann@example.com", To: core.Recipients("bob@example.net"), Body: core.String("Subject: hello\r\n\r\nHi!\r\n")})
}

// fail has a plugin fail in each way while the secret is on its way.
func fail(t *testing.T, f *fixture, p *plugins.Plugin, all shown) {
	t.Helper()
	m := mechanism(t, p)
	for _, tt := range []struct {
		challenge string
		restarts  bool
	}{{"fail of its own accord", false}, {"refuse", false}, {"panic", false}, {"hang", false}, {"large", false}, {"crash", true}} {
		ctx, cancel := context.WithCancel(t.Context())
		a, initial, err := m.Start(ctx, &core.Peer{ServerName: "server.example"})
		if err != nil || len(initial) == 0 {
			t.Fatal(err)
		}
		if tt.challenge == "hang" {
			cancel()
		}
		_, err = a.Next(ctx, []byte(tt.challenge))
		if err == nil {
			t.Errorf("%s is no failure", tt.challenge)
		}
		all.add("errors", err)
		all.add("the values", a)
		cancel()
		if tt.restarts {
			all.add("errors", f.await(t, plugins.BackingOff).Err)
			f.await(t, plugins.Ready)
		}
	}
	a, _, err := m.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	kill(t, p.Status().PID, unix.SIGKILL)
	_, err = a.Next(t.Context(), nil)
	all.add("errors", err, f.await(t, plugins.BackingOff).Err)
	f.await(t, plugins.Ready)
}

// sign has a key sign, and refuse to.
func sign(t *testing.T, p *plugins.Plugin, all shown) {
	t.Helper()
	key, err := p.Signer("key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(nil, []byte("hello"), crypto.Hash(0)); err != nil {
		t.Error(err)
	}
	_, err = key.Sign(nil, []byte("hello"), crypto.SHA256) // Ed25519 takes no digest of it
	if err == nil {
		t.Error("it signs a digest that is too short")
	}
	all.add("errors", err)
	all.add("the values", key, key.Public())
}

// What the host gives a plugin in its environment beside what was configured: no key
// of TLS, and nothing of its own environment.
func TestSecrets_environment(t *testing.T) {
	t.Setenv("HOSTS_SECRET", crand.Text())
	f := newFixture(t, "well")
	f.config.Args = []string{"-file", "/run/secrets/corp"}
	p := f.start(t)
	read := func(name string) []string {
		t.Helper()
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Status().PID, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	}
	if args := read("cmdline"); !slices.Equal(args[1:], f.config.Args) {
		t.Errorf("the arguments are %q", args)
	}
	values := map[string]string{}
	var names []string
	for _, v := range read("environ") {
		name, value, _ := strings.Cut(v, "=")
		values[name], names = value, append(names, name)
	}
	slices.Sort(names)
	want := "PLUGIN_CLIENT_CERT PLUGIN_MAX_PORT PLUGIN_MIN_PORT PLUGIN_PROTOCOL_VERSIONS PLUGIN_UNIX_SOCKET_DIR POSTRIDER_PLUGIN TEST_PLUGIN TMPDIR"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("the environment has %s\n                  want %s", got, want)
	}
	// A certificate and nothing else. The others have no room for a key.
	block, rest := pem.Decode([]byte(values["PLUGIN_CLIENT_CERT"]))
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		t.Fatalf("PLUGIN_CLIENT_CERT is %q", values["PLUGIN_CLIENT_CERT"])
	}
	if c, err := x509.ParseCertificate(block.Bytes); err != nil || c.PublicKey == nil {
		t.Error(err)
	}
	for name, value := range values {
		if name != "PLUGIN_CLIENT_CERT" && len(value) > 100 || strings.Contains(value, "PRIVATE") {
			t.Errorf("%s is %q", name, value)
		}
	}
	// Nor is there a key in the private folder, beside the copy of the binary.
	err := filepath.WalkDir(f.config.RuntimeDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "plugin" {
			return err
		}
		if data, err := os.ReadFile(path); err != nil || len(data) > 0 {
			t.Errorf("%s has %d octets, %v", path, len(data), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A search that finds nothing proves something only if it would find it.
func TestSecrets_wouldBeFound(t *testing.T) {
	secret := []byte("open \x00 sesame\xff")
	for how, text := range map[string]any{
		"as it is":       "the password is " + string(secret),
		"in hexadecimal": fmt.Sprintf("%x", "ann "+string(secret)),
		"printed":        []byte("ann " + string(secret) + "!"),
		"in an error":    fmt.Errorf("wrapped: %w", errors.Join(errors.New("one"), fmt.Errorf("two: %q", secret))),
		"of a struct":    struct{ key []byte }{secret},
	} {
		all := shown{}
		all.add("it", text)
		found := false
		for _, form := range forms(secret) {
			found = found || bytes.Contains(all["it"], []byte(form))
		}
		if !found {
			t.Errorf("%s it is not found", how)
		}
	}
	for before := range 4 {
		text := []byte(strings.Repeat("x", before) + string(secret) + "yz")
		encoded := base64.StdEncoding.EncodeToString(text)
		if !slices.ContainsFunc(slices.Collect(maps.Values(forms(secret))), func(form string) bool { return strings.Contains(encoded, form) }) {
			t.Errorf("in base64 behind %d octets it is not found", before)
		}
	}
}

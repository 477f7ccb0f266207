//go:build unix

package pluginsfx_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms/mechanismsfx"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/pluginsfx"
	"github.com/postrider/postrider/transport/transportfx"
)

// newDKIM signs by a key of a plugin.
func newDKIM(set *pluginsfx.Set) (core.Interceptor, error) {
	key, err := set.Signer("keys", "corp.example")
	if err != nil {
		return core.Interceptor{}, err
	}
	return dkim.New(dkim.Config{Signatures: []dkim.Signature{{Domain: "corp.example", Selector: "2026a", Signer: key}}})
}

func message(body core.Body) *core.Message {
	return &core.Message{From: "ann@corp.example", To: core.Recipients("bob@example.net"), Body: body}
}

const content = "From: ann@corp.example\r\nSubject: hello\r\n\r\nHi!\r\n"

// All that plugins have, in one application.
func TestApplication(t *testing.T) {
	f := newFixture(t)
	server := smtptest.NewServer(t, smtptest.ServerOptions{Users: map[string]string{"ann": "correct horse"}, RequireAuth: true})
	var client *core.Client
	var set *pluginsfx.Set
	app := fxtest.New(t, corefx.Module, pluginsfx.Module, transportfx.Module, corefx.ConnectAtStart, fx.NopLogger,
		fx.Supply(f.config(t, "auth", "keys", "tunnels"), f.logger()),
		fx.Provide(func() core.Config {
			return core.Config{Endpoint: strings.Replace(server.URL(), "smtp:", "test+tunnel:", 1)}
		}),
		corefx.AsInterceptor(corefx.Transform, newDKIM),
		fx.Populate(&client, &set),
	)
	f.nothingRuns(t) // constructors leave nothing running
	app.RequireStart()
	if got := client.Stats().Idle; got != 1 {
		t.Errorf("ConnectAtStart has opened %d sessions", got)
	}
	for name, s := range set.Status() {
		if s.State != plugins.Ready {
			t.Errorf("%s is %v", name, s.State)
		}
	}
	if names := set.Names(); !slices.Equal(names, []string{"auth", "keys", "tunnels"}) {
		t.Error(names)
	}
	if _, err := client.Send(t.Context(), message(core.String(content))); err != nil {
		t.Error(err)
	}
	app.RequireStop()
	f.nothingRuns(t)
	got := server.Messages()
	if len(got) != 1 || got[0].User != "ann" || !strings.Contains(string(got[0].Content), "DKIM-Signature: ") {
		t.Errorf("the server got %v", got)
	}
	if want := "starting, ready, closed, starting, ready, closed"; f.states.of("auth") != want || f.states.of("keys") != want {
		t.Errorf("Observe was told %q and %q", f.states.of("auth"), f.states.of("keys"))
	}
	// In between it was asked about the URL.
	if want := "starting, ready, closed, starting, ready, closed, starting, ready, closed"; f.states.of("tunnels") != want {
		t.Errorf("Observe was told %q", f.states.of("tunnels"))
	}
	for _, line := range []string{`level=INFO msg="at your service" plugin=auth`, `msg="the plugin is ready" plugin=keys`} {
		if !strings.Contains(f.log.String(), line) {
			t.Errorf("the log lacks %s:\n%s", line, &f.log)
		}
	}
}

// The constructors do not run, and so no plugin does.
func TestValidateApp(t *testing.T) {
	f := newFixture(t)
	err := fx.ValidateApp(corefx.Module, pluginsfx.Module, transportfx.Module, fx.NopLogger,
		fx.Supply(f.config(t, "auth", "keys"), core.Config{Endpoint: "smtp://127.0.0.1"}),
		corefx.AsInterceptor(corefx.Transform, newDKIM), fx.Invoke(func(*core.Client) {}))
	if err != nil {
		t.Error(err)
	}
	if f.states.of("auth") != "" {
		t.Error("it was started")
	}
	if err := fx.ValidateApp(pluginsfx.Module, fx.NopLogger, fx.Invoke(func(*pluginsfx.Set) {})); err == nil || !strings.Contains(err.Error(), "pluginsfx.Config") {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	use := func(d plugins.Declaration, use plugins.Use) plugins.Declaration {
		d.Use = &use
		return d
	}
	credentials := fx.Options(mechanismsfx.Module, fx.Supply(mechanismsfx.Credentials{User: "ann", Password: "correct horse"}))
	for _, tt := range []struct {
		rule    string
		change  func(f *fixture, t *testing.T, c *pluginsfx.Config)
		options fx.Option
		says    []string
		started bool // whether a plugin was started to find out
	}{
		{"a plugin's mechanism and a standard one", func(f *fixture, t *testing.T, c *pluginsfx.Config) {}, credentials,
			[]string{`two mechanisms named "PLAIN"`, "mechanismsfx.New at mechanismsfx.go:", "plugin auth: leave one out"}, true},
		{"two plugins with a mechanism", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			other := f.declare(t, "auth")
			other.Name, other.Path = "", copyOf(t, other.Path, "also-auth")
			c.Plugins = append(c.Plugins, other)
		}, nil, []string{`two mechanisms named "X-SPARE", from plugin also-auth and from plugin auth: leave one out`}, true},
		{"two plugins with a transport", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			one, other := f.declare(t, "tunnels"), f.declare(t, "tunnels")
			other.Name, other.Path = "", copyOf(t, other.Path, "more-tunnels")
			c.Plugins = []plugins.Declaration{one, other}
		}, nil, []string{`two transports for the scheme "test+tunnel", from plugin more-tunnels and from plugin tunnels`}, true},
		{"two plugins of a name", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Plugins = append(c.Plugins, f.declare(t, "auth"))
		}, nil, []string{"two plugins are called auth: give one of them another Name"}, false},
		{"two declarations that are wrong", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Plugins = append(c.Plugins, plugins.Declaration{Config: plugins.Config{Path: "relative"}}, plugins.Declaration{Config: plugins.Config{Path: "/lib/sum", SHA256: "1"}})
		}, nil, []string{`plugin relative: Config.Path "relative" is not absolute`, "plugin sum: Config.SHA256 is not"}, false},
		{"a mechanism that it does not have", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Plugins[0] = use(c.Plugins[0], plugins.Use{Mechanisms: []string{"PLAIN", "X-OTHER"}})
		}, nil, []string{"plugin auth: it has no mechanism X-OTHER, which is to be used", "it has: PLAIN X-SPARE"}, true},
		{"a key that it does not have", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Plugins[0] = use(f.declare(t, "keys"), plugins.Use{Signers: []string{"other"}})
		}, nil, []string{"plugin keys: it has no signer other, which is to be used", "it has: corp.example"}, true},
		{"a mechanism that cannot work", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Plugins[0] = f.declare(t, "unusable")
		}, nil, []string{"mechanism X-UNUSABLE of plugin unusable: there is no card in the reader"}, true},
		{"a URL that the plugin does not take", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Plugins[0] = f.declare(t, "tunnels")
		}, fx.Decorate(func(core.Config) core.Config { return core.Config{Endpoint: "test+tunnel://mail"} }),
			[]string{`endpoint "test+tunnel://mail": plugin tunnels: the URL has no port`}, true},
		{"a stage that does not exist", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Stages = map[string]corefx.Stage{"auth/policy": 9}
		}, nil, []string{`Stages has stage 9 for the interceptor "auth/policy": use observe or admit`}, false},
		{"a stage inside of a retry", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Stages = map[string]corefx.Stage{"auth/policy": corefx.Limit}
		}, nil, []string{`Stages has limit for the interceptor "auth/policy": use observe or admit`}, false},
		{"a stage for nothing", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Stages = map[string]corefx.Stage{"auth/policy": corefx.Admit}
		}, nil, []string{`a stage for the interceptor "auth/policy", and no plugin has that`}, true},
		{"two plugins with an interceptor", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			one, other := f.declare(t, "policy"), f.declare(t, "policy")
			other.Name, other.Path = "", copyOf(t, other.Path, "more-policy")
			c.Plugins = []plugins.Declaration{one, other}
		}, nil, []string{`two interceptors named "policy/audience", from plugin more-policy and from plugin policy`}, true},
		{"a signer of a plugin that there is none of", func(f *fixture, t *testing.T, c *pluginsfx.Config) {},
			corefx.AsInterceptor(corefx.Transform, newDKIM), []string{`there is no plugin "keys": there are auth`}, true},
		{"a signer that is not used", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			auth := f.declare(t, "auth")
			auth.Path, auth.Name = copyOf(t, auth.Path, "keys"), ""
			c.Plugins[0] = auth
		}, corefx.AsInterceptor(corefx.Transform, newDKIM), []string{`the plugin keys has no signer "corp.example" that is used`}, true},
		{"a plugin that ends at once", func(f *fixture, t *testing.T, c *pluginsfx.Config) {
			c.Plugins = append(c.Plugins, f.declare(t, "ends"))
		}, nil, []string{"plugin ends: its process ended before its handshake: exit status 7"}, true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t)
			c := f.config(t, "auth")
			tt.change(f, t, &c)
			options := fx.Options(corefx.Module, pluginsfx.Module, transportfx.Module, fx.NopLogger,
				fx.Supply(c, f.logger()), fx.Provide(func() core.Config { return core.Config{Endpoint: "smtp://127.0.0.1"} }),
				fx.Invoke(func(*core.Client) {}))
			if tt.options != nil {
				options = fx.Options(options, tt.options)
			}
			err := fx.New(options).Err()
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Stage != core.StageConfig {
				t.Errorf("%T %v", err, err)
			}
			for _, want := range tt.says {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("%v\nlacks %s", err, want)
				}
			}
			if started := f.log.String() != ""; started != tt.started {
				t.Errorf("a plugin was started: %v", started)
			}
		})
	}
}

func TestConfig_fromJSON(t *testing.T) {
	var c pluginsfx.Config
	text := `{"plugins": [{"path": "/lib/corp", "call-timeout": "3s", "use": {"signers": ["k"]}}], "stages": {"corp/policy": "observe"}}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	want := pluginsfx.Config{
		Plugins: []plugins.Declaration{{Config: plugins.Config{Path: "/lib/corp", CallTimeout: 3 * time.Second}, Use: &plugins.Use{Signers: []string{"k"}}}},
		Stages:  map[string]corefx.Stage{"corp/policy": corefx.Observe},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v", c)
	}
	for text, says := range map[string]string{
		`{"plugin": []}`: `unknown field "plugin"`,
		`{"plugins": [{"path": "/lib/corp", "checksum": "1"}]}`: `plugin corp: its declaration cannot be read: json: unknown field "checksum"`,
		`{"stages": {"corp/policy": "Admit"}}`:                  `there is no stage "Admit": use observe, admit`,
	} {
		if err := json.Unmarshal([]byte(text), new(pluginsfx.Config)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// An interceptor of a plugin is where its stage is, and admits by default.
func TestInterceptors(t *testing.T) {
	f := newFixture(t)
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	c := f.config(t, "policy", "keys")
	c.Stages = map[string]corefx.Stage{"policy/other": corefx.Observe}
	nothing := func(name string) func() core.Interceptor {
		return func() core.Interceptor {
			return core.Interceptor{Name: name, Delivery: func(next core.DeliverFunc) core.DeliverFunc { return next }}
		}
	}
	var client *core.Client
	app := fxtest.New(t, corefx.Module, pluginsfx.Module, transportfx.Module, fx.NopLogger, fx.Supply(c, f.logger()),
		fx.Provide(func() core.Config { return core.Config{Endpoint: server.URL()} }),
		corefx.AsInterceptor(corefx.Retry, nothing("a-retry")), corefx.AsInterceptor(corefx.Observe, nothing("z-logging")),
		corefx.AsInterceptor(corefx.Transform, newDKIM), fx.Populate(&client),
	).RequireStart()
	if got := strings.Join(client.Pipeline(), " "); got != "policy/other z-logging policy/audience a-retry dkim" {
		t.Errorf("the pipeline is %s", got)
	}
	if _, err := client.Send(t.Context(), message(core.String(content))); err != nil {
		t.Error(err)
	}
	refused := message(core.String(content))
	refused.To = core.Recipients("everybody@example.net")
	if _, err := client.Send(t.Context(), refused); err == nil || !strings.Contains(err.Error(), "ask the audit team first") {
		t.Error(err)
	}
	app.RequireStop()
	if got := len(server.Messages()); got != 1 {
		t.Errorf("%d messages were accepted", got)
	}
}

// Only what is declared is used.
func TestUse(t *testing.T) {
	f := newFixture(t)
	c := f.config(t, "auth")
	c.Plugins[0].Use = &plugins.Use{Mechanisms: []string{"X-SPARE"}}
	r, err := pluginsfx.New(pluginsfx.Params{Config: c, Log: f.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Mechanisms) != 1 || r.Mechanisms[0].Name() != "X-SPARE" || r.Mechanisms[0].Origin != "plugin auth" {
		t.Errorf("%v", r.Mechanisms)
	}
}

// Outside fx the caller starts and stops the plugins.
func TestNewWithoutFx(t *testing.T) {
	f := newFixture(t)
	r, err := pluginsfx.New(pluginsfx.Params{Config: f.config(t, "keys"), Log: f.logger()})
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.Set.Signer("keys", "corp.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Sign(nil, []byte("hello"), nil); !errors.Is(err, plugins.ErrDown) {
		t.Errorf("before the start: %v", err)
	}
	if err := r.Set.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Set.Plugin("keys"); err != nil || p.Status().State != plugins.Ready {
		t.Error(p, err)
	}
	if _, err := key.Sign(nil, []byte("hello"), nil); err != nil {
		t.Error(err)
	}
	if err := r.Set.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if s := r.Set.Status()["keys"].State; s != plugins.Closed {
		t.Error(s)
	}
}

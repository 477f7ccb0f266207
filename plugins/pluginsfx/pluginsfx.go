// Package pluginsfx runs plugins in an application that uses go.uber.org/fx: what
// they have is added to the client that [corefx.Module] assembles.
//
//	fx.New(
//		corefx.Module, transportfx.Module, pluginsfx.Module,
//		fx.Provide(NewConfig, NewPlugins), // a core.Config, a pluginsfx.Config
//		corefx.AsInterceptor(corefx.Transform, NewSigner),
//		fx.Invoke(RunMailer),
//	).Run()
//
// Mechanisms, transports and interceptors are registered, each with its plugin as
// the origin. A signer is had from the [Set], which the module provides:
//
//	func NewSigner(set *pluginsfx.Set) (core.Interceptor, error) {
//		key, err := set.Signer("dkim-key", "corp.example")
//		...
//	}
//
// # Lifecycle
//
// A client is made in a constructor, and asks then what each plugin has: names, the
// public key of a signer, what a transport makes of a URL. A plugin says so only
// when it runs. But what a constructor starts is left running when another one
// fails, or when the application never starts: no hook is called then.
//
// So plugins are seen twice. The constructor of the set starts them, asks what they
// have and whether their mechanisms can work, and ends them again: fx.New leaves
// nothing running, and its error says what is wrong with a plugin. The hook OnStart
// starts them for good, and they have to be the same as before. Both start all of
// them at the same time.
//
// fx starts in the order of construction and stops in the reverse one, and a client
// is constructed with what the set has. So plugins run before the client opens a
// session, [corefx.ConnectAtStart] included, and messages that are being sent have
// ended before they end.
package pluginsfx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/plugins"
)

// Module provides a *[Set], and adds what its plugins have to the client. It needs a
// [Config].
var Module = fx.Module("postrider.plugins", fx.Provide(New))

// Config declares the plugins. It can be read from JSON:
//
//	{
//	  "plugins": [
//	    {"path": "/usr/lib/mailer/corp-auth", "name": "corp-auth"},
//	    {"path": "/usr/lib/mailer/corp-policy", "use": {"interceptors": ["audience"]}}
//	  ],
//	  "stages": {"corp-policy/audience": "observe"}
//	}
type Config struct {
	// Plugins are the declarations. No two plugins have the same name, which is
	// Config.Label. The Log of one that has none is the application's.
	Plugins []plugins.Declaration `json:"plugins"`
	// Stages has the stages of interceptors, by what they are called in a pipeline:
	// the name of the plugin and their own, with a slash between them. One that is
	// not here is in [corefx.Admit]; the other one that there may be is
	// [corefx.Observe], since inside of a retry it would be asked again with each
	// try.
	Stages map[string]corefx.Stage `json:"stages"`
	// Observe is told of each change of a plugin's state, beside the Observe of its
	// declaration. It is called by one goroutine at a time for each plugin, must be
	// quick, and must not call methods of plugins. Nil means nobody.
	Observe func(plugin string, s plugins.Status) `json:"-"`
}

// UnmarshalJSON reads a configuration, and checks each declaration. A field that
// there is none of is refused.
func (c *Config) UnmarshalJSON(data []byte) error {
	type fields Config
	var f fields
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return err
	}
	f.Observe = c.Observe
	*c = Config(f)
	return nil
}

// check returns what is wrong with the configuration itself.
func (c *Config) check() error {
	var errs []error
	seen := make(map[string]bool, len(c.Plugins))
	for n := range c.Plugins {
		d := &c.Plugins[n]
		errs = append(errs, d.Check())
		if name := d.Label(); seen[name] {
			errs = append(errs, configError(fmt.Errorf("two plugins are called %s: give one of them another Name, that it calls itself", name)))
		}
		seen[d.Label()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.Stages)) {
		if s := c.Stages[name]; s != corefx.Observe && s != corefx.Admit {
			errs = append(errs, configError(fmt.Errorf("pluginsfx.Config.Stages has %[2]s for the interceptor %[1]q: use observe or admit, which are outside of a retry", name, s)))
		}
	}
	return errors.Join(errs...)
}

// Params are the parameters of [New].
type Params struct {
	fx.In

	// Lifecycle starts and stops the plugins with the application. Outside fx it
	// may be nil, and the caller does.
	Lifecycle fx.Lifecycle
	Config    Config
	// Log is of the plugins whose declaration has no Log. An application need not
	// provide it.
	Log *slog.Logger `optional:"true"`
}

// Result is the result of [New].
type Result struct {
	fx.Out

	Set          *Set
	Mechanisms   []corefx.Mechanism   `group:"postrider.mechanisms,flatten"`
	Transports   []corefx.Transport   `group:"postrider.transports,flatten"`
	Interceptors []corefx.Interceptor `group:"postrider.interceptors,flatten"`
}

// New sees what the plugins have, and leaves none of them running. What it returns
// works when they are started.
//
// The errors are of the stage config, and name the plugin. Those of a declaration
// come before any plugin is started.
func New(p Params) (Result, error) {
	if err := p.Config.check(); err != nil {
		return Result{}, err
	}
	configs := make([]plugins.Config, len(p.Config.Plugins))
	for n, d := range p.Config.Plugins {
		configs[n] = p.complete(d.Config)
	}
	ctx := context.Background() // each has its StartTimeout
	running, err := plugins.StartAll(ctx, configs...)
	if err != nil {
		return Result{}, err
	}
	r, err := collect(&p.Config, running)
	if closing := plugins.CloseAll(ctx, running...); closing != nil {
		p.logger().Warn("a plugin that was looked at did not end well", "error", closing)
	}
	if err != nil {
		return Result{}, err
	}
	r.Set.log = p.logger()
	if p.Lifecycle != nil {
		p.Lifecycle.Append(fx.StartStopHook(r.Set.Start, r.Set.Stop))
	}
	return r, nil
}

func (p *Params) logger() *slog.Logger {
	if p.Log == nil {
		return slog.Default()
	}
	return p.Log
}

// complete adds what is the application's.
func (p *Params) complete(c plugins.Config) plugins.Config {
	if c.Log == nil {
		c.Log = p.logger()
	}
	if all := p.Config.Observe; all != nil {
		name, own := c.Label(), c.Observe
		c.Observe = func(s plugins.Status) {
			if own != nil {
				own(s)
			}
			all(name, s)
		}
	}
	return c
}

// collect takes from plugins that run what is used of them.
func collect(config *Config, running []*plugins.Plugin) (Result, error) {
	r := Result{Set: &Set{}}
	var errs []error
	for n, p := range running {
		d := &config.Plugins[n]
		used, err := d.Used(p)
		if err == nil {
			m := &member{name: d.Label(), plugin: p, used: used}
			r.Set.members = append(r.Set.members, m)
			err = m.collect(&r, config.Stages)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return Result{}, err
	}
	return r, checkStages(config.Stages, r.Interceptors)
}

// checkStages refuses a stage for an interceptor that there is none of.
func checkStages(stages map[string]corefx.Stage, interceptors []corefx.Interceptor) error {
	var names []string
	for _, i := range interceptors {
		names = append(names, i.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(stages)) {
		if !slices.Contains(names, name) {
			return configError(fmt.Errorf("pluginsfx.Config.Stages has a stage for the interceptor %q, and no plugin has that: there are %s", name, strings.Join(names, " ")))
		}
	}
	return nil
}

// collect takes what is used of a plugin that runs.
func (m *member) collect(r *Result, stages map[string]corefx.Stage) error {
	origin := m.plugin.String()
	for _, name := range m.used.Mechanisms {
		mechanism, err := m.plugin.Mechanism(name)
		if err != nil {
			return err
		}
		// The client will not be able to ask.
		if c, ok := mechanism.(core.Checker); ok {
			if err := c.Check(); err != nil {
				e := &core.Error{Stage: core.StageConfig, Class: core.ClassOf(err)}
				if own, ok := err.(*core.Error); ok && own.Err != nil {
					e.Hint, err = own.Hint, own.Err
				}
				e.Err = fmt.Errorf("mechanism %s of %s: %w", name, origin, err)
				return e
			}
		}
		r.Mechanisms = append(r.Mechanisms, corefx.Mechanism{Mechanism: mechanism, Origin: origin})
	}
	for _, scheme := range m.used.Transports {
		t, err := m.plugin.Transport(scheme)
		if err != nil {
			return err
		}
		r.Transports = append(r.Transports, corefx.Transport{Transport: &transport{t, r.Set, m}, Origin: origin})
	}
	for _, name := range m.used.Interceptors {
		i, err := m.plugin.Interceptor(name)
		if err != nil {
			return err
		}
		stage, ok := stages[i.Name]
		if !ok {
			stage = corefx.Admit
		}
		r.Interceptors = append(r.Interceptors, corefx.Interceptor{Interceptor: i, Stage: stage, Origin: origin})
	}
	return nil
}

// configError makes an error like those of core.NewClient.
func configError(err error) error {
	return &core.Error{Stage: core.StageConfig, Class: core.Local, Err: err}
}

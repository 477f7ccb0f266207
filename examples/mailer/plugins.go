package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// pluginSet is the plugins that were started. The zero value has none.
type pluginSet struct {
	list []*plugins.Plugin
	used []plugins.About // what is used of each
}

// startPlugins starts the plugins that are declared, all at the same time, and
// none if one cannot be started. An interrupt ends it.
func (s *settings) startPlugins(ctx context.Context, sys *system) (*pluginSet, error) {
	set := &pluginSet{}
	if len(s.plugins) == 0 {
		return set, nil
	}
	configs := make([]plugins.Config, len(s.plugins))
	for n := range s.plugins {
		configs[n] = s.pluginConfig(&s.plugins[n], sys.stderr)
	}
	ctx, release := interruptible(ctx, sys)
	var err error
	set.list, err = plugins.StartAll(ctx, configs...)
	release()
	if err == nil && errors.Is(context.Cause(ctx), errInterrupted) {
		set.close()
		err = errInterrupted
	}
	if err != nil {
		return nil, startError(ctx, err)
	}
	for n := range set.list {
		used, err := s.plugins[n].Used(set.list[n])
		if err != nil {
			set.close()
			return nil, startError(ctx, err)
		}
		set.used = append(set.used, used)
	}
	return set, nil
}

// close ends the plugins. What has to be killed, because it does not end when it is
// asked to, is gone as well.
func (p *pluginSet) close() { _ = plugins.CloseAll(context.Background(), p.list...) }

// startError puts together why plugins could not be started: for good if one of
// them cannot be.
func startError(ctx context.Context, err error) *core.Error {
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.Canceled) || errors.Is(cause, errInterrupted) {
		return &core.Error{Stage: core.StageConfig, Class: core.Temporary, Err: fmt.Errorf("while the plugins were started: %w", cause)}
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	e := &core.Error{Stage: core.StageConfig, Class: core.Temporary}
	var texts []string
	for _, one := range all {
		one := pluginError(one)
		if one.Class != core.Temporary {
			e.Class = core.Local
		}
		texts = append(texts, inWords(said(one)).Error())
	}
	e.Err = errors.New(strings.Join(texts, "; "))
	return e
}

// pluginError returns why a plugin could not be started, and says what to do.
func pluginError(err error) *core.Error {
	e := *asError(err)
	for _, one := range []struct {
		applies bool
		hint    string
	}{
		{errors.Is(err, plugins.ErrChecksum), `install the binary that was declared; or, if this is the one that is meant, declare the checksum that it has`},
		{errors.Is(err, plugins.ErrUnsafe), "have it belong to root or to you, with the folders above it, and let nobody else write there: chmod go-w"},
		{errors.Is(err, plugins.ErrVersion), "build the plugin for this version of the mailer"},
		{errors.Is(err, plugins.ErrHandshake), "name a program that is a plugin of Postrider's"},
		{strings.Contains(err.Error(), "calls itself"), "declare the name that it has, or none"},
		{errors.Is(err, plugins.ErrEnded), "see what it logs, and whether it lacks arguments: mailer plugin verify PATH -- ARGUMENTS"},
		{errors.Is(err, plugins.ErrLate), `see what it logs with mailer plugin verify, or declare a longer "start-timeout"`},
		{errors.Is(err, plugins.ErrBroken), "tell those who have made the plugin"},
		{errors.Is(err, fs.ErrNotExist), "install it there, or declare the path that it has"},
		{strings.Contains(err.Error(), "it cannot be run"), `name a program for this machine, and let its "runtime-dir" be where programs can be run`},
		{errors.Is(err, fs.ErrPermission), "let the user of the mailer read it"},
		{strings.Contains(err.Error(), "no regular file"), "name the binary itself"},
	} {
		if one.applies {
			e.Hint = one.hint
			break
		}
	}
	return &e
}

// pluginFailed reports whether an error is that of a plugin that did not do what it was
// asked, and may do it later.
func pluginFailed(err error) bool {
	return errors.Is(err, plugins.ErrDown) || errors.Is(err, plugins.ErrEnded) || errors.Is(err, plugins.ErrLate) || errors.Is(err, plugins.ErrBroken)
}

// interruptible returns a context that an interrupt ends, until release is called.
func interruptible(ctx context.Context, sys *system) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-over:
		case <-sys.interrupts:
			cancel(errInterrupted)
		}
	})
	return ctx, func() {
		close(over)
		waiting.Wait() // a later interrupt is for others
		cancel(nil)
	}
}

// having returns the only plugin that has something of a kind.
func (p *pluginSet) having(kind, name string, of func(plugins.About) []string) (*plugins.Plugin, error) {
	var found *plugins.Plugin
	var names []string
	for n, about := range p.used {
		names = append(names, of(about)...)
		if !slices.Contains(of(about), name) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf(`the plugins %s and %s both have the %s %s: say with "use" of which of them it is to be`, found.About().Name, about.Name, kind, name)
		}
		found = p.list[n]
	}
	switch {
	case found != nil:
		return found, nil
	case len(p.list) == 0:
		return nil, fmt.Errorf("there is no %s %q: declare the plugin that has it in the file of -config", kind, name)
	case len(names) == 0:
		return nil, fmt.Errorf("there is no %s %q: the plugins have none", kind, name)
	}
	return nil, fmt.Errorf("there is no %s %q: the plugins have %s", kind, name, strings.Join(names, ", "))
}

// names returns the names of all that the plugins have of a kind, in the order in
// which they are declared.
func (p *pluginSet) names(of func(plugins.About) []string) (names []string) {
	for _, about := range p.used {
		names = append(names, of(about)...)
	}
	return names
}

// What plugins have.

func mechanismsOf(a plugins.About) []string { return a.Mechanisms }
func signersOf(a plugins.About) []string    { return a.Signers }
func transportsOf(a plugins.About) []string { return a.Transports }

// interceptorsOf returns the names of interceptors as they are in a pipeline: each
// behind that of its plugin and a slash.
func interceptorsOf(a plugins.About) []string {
	var names []string
	for _, name := range a.Interceptors {
		names = append(names, a.Name+"/"+name)
	}
	return names
}

// mechanism returns the mechanism of a name.
func (p *pluginSet) mechanism(name string) (core.Mechanism, error) {
	one, err := p.having("mechanism", name, mechanismsOf)
	if err != nil {
		return nil, err
	}
	return one.Mechanism(name)
}

// mechanisms returns all mechanisms.
func (p *pluginSet) mechanisms() (list []core.Mechanism, err error) {
	for _, name := range p.names(mechanismsOf) {
		m, err := p.mechanism(name)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// transports returns all transports.
func (p *pluginSet) transports() (list []core.Transport, err error) {
	for _, scheme := range p.names(transportsOf) {
		one, err := p.having("transport", scheme, transportsOf)
		if err != nil {
			return nil, err
		}
		t, err := one.Transport(scheme)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// interceptor returns the interceptor of a name.
func (p *pluginSet) interceptor(name string) (core.Interceptor, error) {
	one, err := p.having("interceptor", name, interceptorsOf)
	if err != nil {
		return core.Interceptor{}, err
	}
	_, name, _ = strings.Cut(name, "/")
	return one.Interceptor(name)
}

// signer returns the key of a name.
func (p *pluginSet) signer(id string) (crypto.Signer, error) {
	one, err := p.having("signer", id, signersOf)
	if err != nil {
		return nil, err
	}
	return one.Signer(id)
}

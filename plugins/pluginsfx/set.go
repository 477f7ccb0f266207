package pluginsfx

import (
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// Set is the plugins of an application. It is safe for concurrent use.
type Set struct {
	members []*member // as they were declared
	log     *slog.Logger

	mu    sync.Mutex
	begun bool // Start was called
}

// member is one of the plugins.
type member struct {
	name   string
	plugin *plugins.Plugin
	used   plugins.About
}

// Start starts the plugins, all at the same time. If one of them cannot be started
// none is left running. In an application that is started fx calls it.
func (s *Set) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	return plugins.ReopenAll(ctx, s.all()...)
}

// Stop ends the plugins, all at the same time, as plugins.CloseAll does. In an
// application that is stopped fx calls it.
func (s *Set) Stop(ctx context.Context) error { return plugins.CloseAll(ctx, s.all()...) }

func (s *Set) all() []*plugins.Plugin {
	list := make([]*plugins.Plugin, len(s.members))
	for n, m := range s.members {
		list[n] = m.plugin
	}
	return list
}

// Names returns what the plugins are called, in the order of their declarations.
func (s *Set) Names() []string {
	names := make([]string, len(s.members))
	for n, m := range s.members {
		names[n] = m.name
	}
	return names
}

// Plugin returns a plugin, for its state. Starting and ending it is the set's. The
// error says that there is none of that name.
func (s *Set) Plugin(name string) (*plugins.Plugin, error) {
	m, err := s.member(name)
	if err != nil {
		return nil, err
	}
	return m.plugin, nil
}

func (s *Set) member(name string) (*member, error) {
	n := slices.IndexFunc(s.members, func(m *member) bool { return m.name == name })
	if n < 0 {
		return nil, configError(fmt.Errorf("there is no plugin %.70q: there are %s", name, strings.Join(s.Names(), " ")))
	}
	return s.members[n], nil
}

// Signer returns a key of a plugin, for middleware/dkim say. Its public key is known
// at once; it signs when the plugins are started. The error says that there is no
// such plugin, or that it has no such key, or none that is used.
func (s *Set) Signer(plugin, id string) (crypto.Signer, error) {
	m, err := s.member(plugin)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(m.used.Signers, id) {
		return nil, configError(fmt.Errorf("the plugin %s has no signer %.70q that is used: there are %s", plugin, id, strings.Join(m.used.Signers, " ")))
	}
	return m.plugin.Signer(id)
}

// Status returns how the plugins are now, by their names.
func (s *Set) Status() map[string]plugins.Status {
	status := make(map[string]plugins.Status, len(s.members))
	for _, m := range s.members {
		status[m.name] = m.plugin.Status()
	}
	return status
}

// transport is that of a plugin. A client has it read a URL when it is made, which is
// before the plugins are started.
type transport struct {
	core.Transport
	set    *Set
	member *member
}

// Endpoint implements [core.Transport]. Before the start it runs the plugin for as
// long as it takes.
func (t *transport) Endpoint(u *url.URL) (core.Endpoint, error) {
	done, err := t.set.look(t.member)
	if err != nil {
		return core.Endpoint{}, err
	}
	defer done()
	return t.Transport.Endpoint(u)
}

// look has a plugin run until done is called, unless the plugins were started, and
// run or do not.
func (s *Set) look(m *member) (done func(), err error) {
	s.mu.Lock()
	if s.begun {
		s.mu.Unlock()
		return func() {}, nil
	}
	ctx := context.Background() // the plugin has its StartTimeout
	if err := m.plugin.Reopen(ctx); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	return func() {
		defer s.mu.Unlock()
		if err := m.plugin.Close(ctx); err != nil {
			s.log.Warn("a plugin that was looked at did not end well", "error", err)
		}
	}, nil
}

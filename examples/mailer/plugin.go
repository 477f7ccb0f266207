package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// listPlugins is the command "plugin list": it starts each plugin that is declared,
// says what it has or why it cannot be started, and ends it.
func listPlugins(ctx context.Context, s *settings, sys *system) error {
	if len(s.files) > 0 {
		return usage("plugin list takes no argument, and there is %q", s.files[0])
	}
	if len(s.plugins) == 0 && !s.json {
		_, err := fmt.Fprintln(sys.stdout, "no plugins: none is declared")
		return written(err)
	}
	ctx, release := interruptible(ctx, sys)
	defer release()
	found := make([]*pluginFinding, len(s.plugins))
	var all sync.WaitGroup
	for n := range s.plugins {
		all.Go(func() { found[n] = inspect(ctx, s.plugins[n], s.pluginConfig(&s.plugins[n], sys.stderr)) })
	}
	all.Wait()
	var failures []*pluginFinding
	status := allAccepted
	for _, f := range found {
		if err := f.print(sys.stdout, s.json); err != nil {
			return written(err)
		}
		if f.Error != nil {
			failures, status = append(failures, f), first(status, statusOf(f.failure, false))
		}
	}
	switch len(failures) {
	case 0:
		return nil
	case 1:
		return &ended{status, errors.New(failures[0].Error.Text)}
	}
	return &ended{status, fmt.Errorf("%d of %d plugins cannot be used; the first: %s", len(failures), len(found), failures[0].Error.Text)}
}

// verifyPlugin is the command "plugin verify": it does with a binary what a host
// does before it trusts it, and prints how to declare it.
func verifyPlugin(ctx context.Context, s *settings, sys *system) error {
	if len(s.files) == 0 || s.files[0] == "" {
		return usage("there is no plugin: give the PATH of its binary")
	}
	path, err := filepath.Abs(s.files[0])
	if err != nil {
		return misconfiguration("%w", err) // the folder that it is in is gone
	}
	s.verified.Path, s.verified.Args = path, s.files[1:]
	if err := s.verified.Check(); err != nil {
		return s.blame(inWords(err))
	}
	var log logged
	config := s.verified.Config
	config.Log = slog.New(own{slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: withoutTime})})
	ctx, release := interruptible(ctx, sys)
	defer release()
	f := inspect(ctx, s.verified, config)
	f.Log = log.lines()
	if f.Error == nil {
		f.declaration = &declared{path, f.SHA256, f.Name, s.verified.Args, s.verified.Env}
	}
	if err := f.print(sys.stdout, s.json); err != nil {
		return written(err)
	}
	if f.Error == nil {
		return nil
	}
	return &ended{statusOf(f.failure, false), errors.New(f.Error.Text)}
}

// inspect starts a plugin, asks it what it has, and ends it. What it says of the
// checksum is of the binary that was run.
func inspect(ctx context.Context, d plugins.Declaration, config plugins.Config) *pluginFinding {
	f := &pluginFinding{Name: config.Label(), Path: config.Path, State: "failed", Checksum: "unknown"}
	if sum, err := checksumOf(config.Path); err == nil {
		f.SHA256, f.Checksum = sum, "matches"
		switch {
		case config.SHA256 == "":
			config.SHA256, f.Checksum = sum, "not_declared"
		case !strings.EqualFold(config.SHA256, sum):
			f.Checksum = "differs"
		}
	}
	plugin, err := plugins.Start(ctx, config)
	if err != nil {
		f.fail(startError(ctx, err))
		return f
	}
	f.State = plugin.Status().State.String()
	f.about(plugin.About())
	if used, err := d.Used(plugin); err == nil {
		f.about(used)
	} else {
		f.fail(asError(err))
	}
	if err := plugin.Close(context.WithoutCancel(ctx)); err != nil {
		f.fail(&core.Error{Stage: core.StageConfig, Class: core.Local, Err: err, Hint: "tell those who have made the plugin"})
	}
	return f
}

// checksumOf returns the SHA-256 of a file in hexadecimal.
func checksumOf(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", path) // to open a pipe would wait for a writer
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// logged keeps the first lines of what a plugin logs, and counts the others. It is
// safe for concurrent use.
type logged struct {
	mu     sync.Mutex
	kept   []string
	others int
}

// mostLogged is how many lines are kept.
const mostLogged = 20

// Write implements io.Writer: each call is a line.
func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) < mostLogged {
		l.kept = append(l.kept, oneLine(string(bytes.TrimSpace(line))))
	} else {
		l.others++
	}
	return len(line), nil
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.others == 0 {
		return l.kept
	}
	return append(l.kept, fmt.Sprintf("and %d more", l.others))
}

// own takes what the plugin logs, and not what becomes of it.
type own struct{ slog.Handler }

// Handle implements slog.Handler.
func (o own) Handle(ctx context.Context, record slog.Record) error {
	for state := plugins.Starting; state <= plugins.Closed; state++ {
		if record.Message == "the plugin is "+state.String() {
			return nil
		}
	}
	return o.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (o own) WithAttrs(attrs []slog.Attr) slog.Handler { return own{o.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (o own) WithGroup(name string) slog.Handler { return own{o.Handler.WithGroup(name)} }

// withoutTime leaves out what is the same in each line.
func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "plugin" {
		return slog.Attr{}
	}
	return a
}

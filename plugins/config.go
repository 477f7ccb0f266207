package plugins

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
)

// What a [Config] stands for where it has zero.
const (
	DefaultStartTimeout   = 10 * time.Second
	DefaultCallTimeout    = 30 * time.Second
	DefaultHealthInterval = 10 * time.Second
	DefaultHealthTimeout  = 5 * time.Second
	DefaultStopTimeout    = 2 * time.Second
	DefaultRestartInitial = 100 * time.Millisecond
	DefaultRestartMax     = 30 * time.Second
	DefaultRestartBudget  = 20
	DefaultRestartWindow  = 10 * time.Minute
)

// Config declares a plugin. Path is required.
type Config struct {
	// Path is the plugin's binary: an absolute path, which may go over symbolic
	// links. The file and the folders above it must belong to root or the user of
	// the host, and others must not be able to write them; behind a folder that
	// others cannot enter it does not matter. On systems without such modes nothing
	// is checked but the checksum.
	// What runs is a copy, made once: a binary that is replaced is not seen
	// before another Start.
	Path string
	// SHA256 is the checksum of the binary in hexadecimal, as sha256sum prints it.
	// Empty means that it is not compared.
	SHA256 string
	// Name is what the plugin calls itself; one that calls itself otherwise is
	// refused. Empty means that any name will do.
	Name string

	// Args are the arguments. Every user of the machine can read them: they are
	// no place for a secret.
	Args []string
	// Env is the plugin's environment, as NAME=VALUE. It has nothing of the
	// host's, but for what it takes to reach each other. It is no place for a
	// secret either: the plugin gets those where it runs, from a file or a vault.
	Env []string
	// RuntimeDir is where the private folder of the plugin is made, with its
	// sockets and the copy of its binary: it must allow that programs are run, and
	// others must not be able to write it, or the folders above it, without the
	// sticky bit. Empty means os.TempDir.
	RuntimeDir string

	// Log gets what the plugin logs and prints, and what becomes of it. Nil means
	// slog.Default().
	Log *slog.Logger
	// Observe is told of each change. It is called by one goroutine at a time,
	// must be quick, and must not call the plugin's methods. Nil means nobody.
	Observe func(Status)

	// StartTimeout is how long a process may take until it serves.
	StartTimeout time.Duration
	// CallTimeout is how long the plugin may take for an answer: to one step of an
	// AUTH, with a signature, or about a message.
	CallTimeout time.Duration
	// HealthInterval is the time between two questions whether the plugin is still
	// there, and HealthTimeout how long it may take for the answer. One that does
	// not answer is killed.
	HealthInterval, HealthTimeout time.Duration
	// StopTimeout is how long a process may take to end when it is asked to.
	StopTimeout time.Duration
	// Restart says what happens when the process ends or is killed.
	Restart Restart
}

// Restart says how often and how soon a plugin is started again.
type Restart struct {
	// Initial is the pause before the first restart. It doubles with each, more or
	// less, up to Max, and is Initial again when the plugin was well for Max.
	Initial, Max time.Duration
	// Budget is how many restarts there may be within Window: with one more the
	// plugin is disabled. Negative means none at all.
	Budget int
	// Window is the time that Budget is for.
	Window time.Duration
}

// String names the plugin, without its arguments and environment.
func (c Config) String() string { return "plugin " + c.Label() }

// GoString is String, for %#v.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for package slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Label is what the plugin is called in errors and logs: Name, or else that of the
// binary.
func (c Config) Label() string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Path != "":
		return filepath.Base(c.Path)
	}
	return "without a path"
}

// maxSocketPath is the room for the path of a Unix socket, the NUL behind it
// counted: 108 octets on Linux, 104 elsewhere.
const maxSocketPath = 104

// settings returns the configuration with its defaults, checked. It opens nothing
// but what the path says.
func (c Config) settings() (Config, error) {
	if err := c.check(); err != nil {
		return Config{}, configError(c.Label(), err, "")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.RuntimeDir == "" {
		c.RuntimeDir = os.TempDir()
	}
	// As in folder.go: /postrider-1234567890/1234567890/plugin1234567890
	if n := len(c.RuntimeDir) + 50; n >= maxSocketPath && runtime.GOOS != "windows" {
		return Config{}, configError(c.Label(), fmt.Errorf("the path of Config.RuntimeDir has %d octets, and a socket in it would have too many", len(c.RuntimeDir)), "use a shorter one")
	}
	for _, d := range []struct {
		value   *time.Duration
		instead time.Duration
	}{
		{&c.StartTimeout, DefaultStartTimeout}, {&c.CallTimeout, DefaultCallTimeout},
		{&c.HealthInterval, DefaultHealthInterval}, {&c.HealthTimeout, DefaultHealthTimeout},
		{&c.StopTimeout, DefaultStopTimeout},
		{&c.Restart.Initial, DefaultRestartInitial}, {&c.Restart.Max, DefaultRestartMax}, {&c.Restart.Window, DefaultRestartWindow},
	} {
		if *d.value == 0 {
			*d.value = d.instead
		}
	}
	if c.Restart.Budget == 0 {
		c.Restart.Budget = DefaultRestartBudget
	}
	return c, nil
}

func (c *Config) check() error {
	if !filepath.IsAbs(c.Path) {
		return fmt.Errorf("Config.Path %q is not absolute", c.Path)
	}
	if c.RuntimeDir != "" && !filepath.IsAbs(c.RuntimeDir) {
		return fmt.Errorf("Config.RuntimeDir %q is not absolute", c.RuntimeDir)
	}
	if c.Name != "" {
		if err := wire.CheckName(c.Name); err != nil {
			return fmt.Errorf("Config.Name %q: %w", c.Name, err)
		}
	}
	if sum, err := hex.DecodeString(c.SHA256); err != nil || len(sum) != 0 && len(sum) != 32 {
		return errors.New("Config.SHA256 is not 64 hexadecimal digits: use the first word that sha256sum prints")
	}
	for _, arg := range c.Args {
		if strings.ContainsRune(arg, 0) {
			return errors.New("Config.Args has an argument with NUL")
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"StartTimeout", c.StartTimeout}, {"CallTimeout", c.CallTimeout}, {"HealthInterval", c.HealthInterval},
		{"HealthTimeout", c.HealthTimeout}, {"StopTimeout", c.StopTimeout},
		{"Restart.Initial", c.Restart.Initial}, {"Restart.Max", c.Restart.Max}, {"Restart.Window", c.Restart.Window},
	} {
		if d.value < 0 {
			return fmt.Errorf("the time Config.%s is negative", d.name)
		}
	}
	return c.checkEnv()
}

// checkEnv checks the environment. Its values are in no error.
func (c *Config) checkEnv() error {
	seen := make(map[string]bool, len(c.Env))
	for n, v := range c.Env {
		name, value, ok := strings.Cut(v, "=")
		switch {
		case !ok:
			return fmt.Errorf("entry %d of Config.Env has no \"=\": write NAME=VALUE", n)
		case !validVariable(name):
			return fmt.Errorf("entry %d of Config.Env has the name %.70q: use letters, digits and underscores, and no digit in front", n, name)
		case strings.HasPrefix(name, "PLUGIN_") || strings.HasPrefix(name, "POSTRIDER_PLUGIN") || name == "TMPDIR":
			return fmt.Errorf("Config.Env has %s, which is the host's to set", name)
		case strings.ContainsRune(value, 0):
			return fmt.Errorf("the value of %s in Config.Env holds NUL", name)
		case seen[name]:
			return fmt.Errorf("Config.Env has %s twice", name)
		}
		seen[name] = true
	}
	return nil
}

func validVariable(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && '0' <= c && c <= '9') {
			return false
		}
	}
	return name != ""
}

// configError is a plugin that cannot be started until somebody changes something.
func configError(name string, err error, hint string) *core.Error {
	return &core.Error{Stage: core.StageConfig, Class: core.Local, Err: &Error{Plugin: name, Err: err}, Hint: hint}
}

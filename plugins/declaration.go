package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/plugins/internal/wire"
)

// Declaration declares a plugin, and what of it is used. It can be read from a
// configuration file, in JSON (RFC 8259):
//
//	{
//	  "path": "/usr/lib/mailer/corp-auth",
//	  "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
//	  "name": "corp-auth",
//	  "args": ["-key", "/run/secrets/corp-ticket"],
//	  "env": ["TZ=UTC"],
//	  "runtime-dir": "/run/mailer",
//	  "start-timeout": "10s", "call-timeout": "30s", "stop-timeout": "2s",
//	  "health-interval": "10s", "health-timeout": "5s",
//	  "restart": {"initial": "100ms", "max": "30s", "budget": 20, "window": "10m"},
//	  "use": {"mechanisms": ["X-CORP-TICKET"]}
//	}
//
// All but the path may be left out. Config.Log and Config.Observe are the host's to
// set.
type Declaration struct {
	Config
	// Use is what of the plugin is used. Nil means everything that it has.
	Use *Use
}

// Use names what of a plugin is used, and no more than that is.
type Use struct {
	Mechanisms   []string `json:"mechanisms,omitempty"`
	Signers      []string `json:"signers,omitempty"`
	Transports   []string `json:"transports,omitempty"`
	Interceptors []string `json:"interceptors,omitempty"`
}

// declared is a declaration in a file.
type declared struct {
	Path           string   `json:"path"`
	SHA256         string   `json:"sha256"`
	Name           string   `json:"name"`
	Args           []string `json:"args"`
	Env            []string `json:"env"`
	RuntimeDir     string   `json:"runtime-dir"`
	StartTimeout   period   `json:"start-timeout"`
	CallTimeout    period   `json:"call-timeout"`
	StopTimeout    period   `json:"stop-timeout"`
	HealthInterval period   `json:"health-interval"`
	HealthTimeout  period   `json:"health-timeout"`
	Restart        struct {
		Initial period `json:"initial"`
		Max     period `json:"max"`
		Budget  int    `json:"budget"`
		Window  period `json:"window"`
	} `json:"restart"`
	Use *Use `json:"use"`
}

// period is a time as package time writes it.
type period time.Duration

// UnmarshalJSON reads a time.
func (p *period) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		text = string(data)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf(`%.70s is no time: write it as "10s" or "1m30s"`, data)
	}
	*p = period(d)
	return nil
}

// UnmarshalJSON reads a declaration, and checks it: a field that there is none of is
// refused. The error names the plugin, and shows no value of its arguments or
// environment.
func (d *Declaration) UnmarshalJSON(data []byte) error {
	var f declared
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&f)
	read := Declaration{Use: f.Use, Config: Config{
		Path: f.Path, SHA256: f.SHA256, Name: f.Name, Args: f.Args, Env: f.Env, RuntimeDir: f.RuntimeDir,
		StartTimeout: time.Duration(f.StartTimeout), CallTimeout: time.Duration(f.CallTimeout), StopTimeout: time.Duration(f.StopTimeout),
		HealthInterval: time.Duration(f.HealthInterval), HealthTimeout: time.Duration(f.HealthTimeout),
		Restart: Restart{
			Initial: time.Duration(f.Restart.Initial), Max: time.Duration(f.Restart.Max),
			Budget: f.Restart.Budget, Window: time.Duration(f.Restart.Window),
		},
	}}
	if err != nil {
		return configError(labelIn(data), fmt.Errorf("its declaration cannot be read: %w", err), "")
	}
	if err := read.Check(); err != nil {
		return err
	}
	*d = read
	return nil
}

// labelIn names the plugin of a declaration that cannot be read.
func labelIn(data []byte) string {
	var f struct{ Path, Name string }
	_ = json.Unmarshal(data, &f) // what can be read of it
	return Config{Path: f.Path, Name: f.Name}.Label()
}

// Check returns what is wrong with the declaration, as far as that can be known
// without the binary: a [*core.Error] of the stage config that names the plugin.
func (d *Declaration) Check() error {
	if _, err := d.settings(); err != nil {
		return err
	}
	if err := d.Use.check(); err != nil {
		return configError(d.Label(), err, "")
	}
	return nil
}

func (u *Use) check() error {
	if u == nil {
		return nil
	}
	used := 0
	for _, kind := range []struct {
		what  string
		names []string
		check func(string) error
	}{
		{"mechanism", u.Mechanisms, wire.CheckMechanismName}, {"signer", u.Signers, wire.CheckName},
		{"transport", u.Transports, wire.CheckScheme}, {"interceptor", u.Interceptors, wire.CheckName},
	} {
		used += len(kind.names)
		for n, name := range kind.names {
			if err := kind.check(name); err != nil {
				return fmt.Errorf("the %s %.70q that is to be used: %w", kind.what, name, err)
			}
			if slices.Contains(kind.names[:n], name) {
				return fmt.Errorf("the %s %s is to be used twice", kind.what, name)
			}
		}
	}
	if used == 0 {
		return errors.New("nothing of it is to be used: name something, or leave out what is to be used to use everything")
	}
	return nil
}

// Used returns what of the plugin the declaration uses: About, with no more than
// that. The error says that the plugin does not have all of it.
func (d *Declaration) Used(p *Plugin) (About, error) {
	about := p.About()
	if d.Use == nil {
		return about, nil
	}
	for _, kind := range []struct {
		what  string
		has   *[]string
		names []string
	}{
		{"mechanism", &about.Mechanisms, d.Use.Mechanisms}, {"signer", &about.Signers, d.Use.Signers},
		{"transport", &about.Transports, d.Use.Transports}, {"interceptor", &about.Interceptors, d.Use.Interceptors},
	} {
		for _, name := range kind.names {
			if !slices.Contains(*kind.has, name) {
				return About{}, configError(p.name, fmt.Errorf("it has no %s %s, which is to be used", kind.what, name), "it has: "+strings.Join(*kind.has, " "))
			}
		}
		*kind.has = slices.Clone(kind.names)
	}
	return about, nil
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// pluginFinding is what was found of a plugin: the line of plugin list -json and
// plugin verify -json. What does not apply is absent.
type pluginFinding struct {
	Name         string       `json:"name"`
	Version      string       `json:"version,omitempty"`
	Path         string       `json:"path"`
	State        string       `json:"state"`
	Checksum     string       `json:"checksum"`
	SHA256       string       `json:"sha256,omitempty"`
	Mechanisms   []string     `json:"mechanisms,omitempty"`
	Signers      []string     `json:"signers,omitempty"`
	Transports   []string     `json:"transports,omitempty"`
	Interceptors []string     `json:"interceptors,omitempty"`
	Log          []string     `json:"log,omitempty"`
	Error        *pluginFault `json:"error,omitempty"`

	failure     error
	declaration *declared // to be shown
}

// pluginFault is why a plugin cannot be used: class is "temporary" or "local", which
// has to be changed.
type pluginFault struct {
	Class string `json:"class"`
	Text  string `json:"text"`
}

// declared is a plugin in the file of -config, as plugins.Declaration reads it.
type declared struct {
	Path   string   `json:"path"`
	SHA256 string   `json:"sha256"`
	Name   string   `json:"name"`
	Args   []string `json:"args,omitempty"`
	Env    []string `json:"env,omitempty"`
}

func (f *pluginFinding) about(a plugins.About) {
	f.Name, f.Version = a.Name, a.Version
	f.Mechanisms, f.Signers, f.Transports, f.Interceptors = a.Mechanisms, a.Signers, a.Transports, a.Interceptors
}

func (f *pluginFinding) fail(e *core.Error) {
	f.State, f.failure = "failed", e
	f.Error = &pluginFault{e.Class.String(), redactor{}.errorText(e)}
}

// print prints what was found.
func (f *pluginFinding) print(w io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(f)
	}
	_, err := io.WriteString(w, f.text())
	return err
}

// text is the finding for people.
func (f *pluginFinding) text() string {
	var b strings.Builder
	line := func(name string, values ...string) {
		if text := oneLine(strings.Join(values, " ")); text != "" {
			fmt.Fprintf(&b, "  %-12s %s\n", name, text)
		}
	}
	fmt.Fprintf(&b, "%s: %s\n", oneLine(strings.TrimSpace(f.Name+" "+f.Version)), f.State)
	line("path", f.Path)
	line("checksum", strings.ReplaceAll(f.Checksum, "_", " "))
	line("sha256", f.SHA256)
	line("mechanisms", f.Mechanisms...)
	line("signers", f.Signers...)
	line("transports", f.Transports...)
	line("interceptors", f.Interceptors...)
	for _, text := range f.Log {
		line("it logs", text)
	}
	if f.Error != nil {
		line("problem", f.Error.Text)
	}
	if f.declaration != nil {
		text, err := json.Marshal(f.declaration)
		if err == nil {
			line("declare it", string(text))
		}
	}
	return b.String()
}

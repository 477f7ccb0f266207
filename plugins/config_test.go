package plugins_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

func TestConfig_isRefused(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(*plugins.Config)
		says   string
	}{
		{"no path", func(c *plugins.Config) { c.Path = "" }, "not absolute"},
		{"a relative path", func(c *plugins.Config) { c.Path = "plugin" }, "not absolute"},
		{"a relative folder", func(c *plugins.Config) { c.RuntimeDir = "run" }, "Config.RuntimeDir"},
		{"a folder whose name is too long for a socket", func(c *plugins.Config) { c.RuntimeDir = "/" + strings.Repeat("x", 90) }, "use a shorter one"},
		{"a checksum of another kind", func(c *plugins.Config) { c.SHA256 = "d41d8cd98f00b204e9800998ecf8427e" }, "64 hexadecimal digits"},
		{"a checksum that is none", func(c *plugins.Config) { c.SHA256 = strings.Repeat("x", 64) }, "64 hexadecimal digits"},
		{"a name with a space", func(c *plugins.Config) { c.Name = "corp auth" }, "Config.Name"},
		{"an argument with NUL", func(c *plugins.Config) { c.Args = []string{"hunter2\x00"} }, "NUL"},
		{"a variable without a value", func(c *plugins.Config) { c.Env = []string{"hunter2"} }, "write NAME=VALUE"},
		{"a variable without a name", func(c *plugins.Config) { c.Env = []string{"=hunter2"} }, "has the name \"\""},
		{"a variable that is none", func(c *plugins.Config) { c.Env = []string{"1A=hunter2"} }, "letters, digits and underscores"},
		{"a variable with NUL", func(c *plugins.Config) { c.Env = []string{"A=hunter2\x00"} }, "the value of A"},
		{"a variable twice", func(c *plugins.Config) { c.Env = []string{"A=hunter2", "A=x"} }, "A twice"},
		{"a variable of go-plugin's", func(c *plugins.Config) { c.Env = []string{"PLUGIN_CLIENT_CERT=hunter2"} }, "the host's to set"},
		{"the folder for temporary files", func(c *plugins.Config) { c.Env = []string{"TMPDIR=hunter2"} }, "the host's to set"},
		{"a negative time", func(c *plugins.Config) { c.CallTimeout = -1 }, "Config.CallTimeout is negative"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			config := plugins.Config{Path: "/nonexistent/plugin"}
			tt.change(&config)
			_, err := plugins.Start(t.Context(), config)
			e, ok := err.(*core.Error)
			if !ok || e.Stage != core.StageConfig || e.Class != core.Local || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%T %v", err, err)
			}
			if _, ok := errors.AsType[*plugins.Error](err); !ok || strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestConfig_doesNotPrintWhatMayBeSecret(t *testing.T) {
	config := plugins.Config{Path: "/usr/lib/corp-auth", Args: []string{"hunter2"}, Env: []string{"A=hunter2"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, config); text != "plugin corp-auth" {
			t.Errorf("%s: %s", format, text)
		}
	}
}

package plugins_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

const everyField = `{
	"path": "/usr/lib/mailer/corp-auth",
	"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	"name": "corp", "args": ["-key", "/run/secrets/corp"], "env": ["TZ=UTC"], "runtime-dir": "/run/mailer",
	"start-timeout": "1s", "call-timeout": "2s", "stop-timeout": "3s", "health-interval": "4s", "health-timeout": "1m30s",
	"restart": {"initial": "100ms", "max": "30s", "budget": -1, "window": "10m"},
	"use": {"mechanisms": ["X-CORP"], "signers": ["key"], "transports": ["corp+tunnel"], "interceptors": ["corp-policy"]}
}`

func TestDeclaration_everyField(t *testing.T) {
	var got []plugins.Declaration
	if err := json.Unmarshal([]byte("["+everyField+`, {"path": "/plugin"}]`), &got); err != nil {
		t.Fatal(err)
	}
	want := []plugins.Declaration{{
		Config: plugins.Config{
			Path: "/usr/lib/mailer/corp-auth", SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
			Name: "corp", Args: []string{"-key", "/run/secrets/corp"}, Env: []string{"TZ=UTC"}, RuntimeDir: "/run/mailer",
			StartTimeout: time.Second, CallTimeout: 2 * time.Second, StopTimeout: 3 * time.Second,
			HealthInterval: 4 * time.Second, HealthTimeout: 90 * time.Second,
			Restart: plugins.Restart{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Budget: -1, Window: 10 * time.Minute},
		},
		Use: &plugins.Use{Mechanisms: []string{"X-CORP"}, Signers: []string{"key"}, Transports: []string{"corp+tunnel"}, Interceptors: []string{"corp-policy"}},
	}, {Config: plugins.Config{Path: "/plugin"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%#v", got)
	}
}

// Each mistake is found when the file is read, and the plugin named.
func TestDeclaration_refuses(t *testing.T) {
	for _, tt := range []struct{ rule, text, says string }{
		{"a field that does not exist", `{"name": "corp", "path": "/p", "sha265": ""}`, `plugin corp: its declaration cannot be read: json: unknown field "sha265"`},
		{"one in the middle", `{"path": "/lib/corp", "restart": {"pause": "1s"}}`, `plugin corp: its declaration cannot be read: json: unknown field "pause"`},
		{"one of what is used", `{"path": "/lib/corp", "use": {"mechanism": ["PLAIN"]}}`, `plugin corp: its declaration cannot be read: json: unknown field "mechanism"`},
		{"a number for a time", `{"path": "/lib/corp", "call-timeout": 30}`, `plugin corp: its declaration cannot be read: 30 is no time: write it as "10s"`},
		{"a time without a unit", `{"path": "/lib/corp", "call-timeout": "30"}`, `"30" is no time: write it as "10s"`},
		{"a time below zero", `{"path": "/lib/corp", "call-timeout": "-1s"}`, "plugin corp: the time Config.CallTimeout is negative"},
		{"no path", `{"sha256": ""}`, `plugin without a path: Config.Path "" is not absolute`},
		{"null", `null`, `plugin without a path: Config.Path "" is not absolute`},
		{"a path that is relative", `{"path": "lib/corp"}`, `plugin corp: Config.Path "lib/corp" is not absolute`},
		{"a checksum that is none", `{"path": "/lib/corp", "sha256": "abc"}`, "plugin corp: Config.SHA256 is not 64 hexadecimal digits"},
		{"an environment that is the host's", `{"path": "/lib/corp", "env": ["TMPDIR=/x"]}`, "plugin corp: Config.Env has TMPDIR"},
		{"nothing that is used", `{"path": "/lib/corp", "use": {}}`, "plugin corp: nothing of it is to be used: name something"},
		{"a mechanism that no server could have", `{"path": "/lib/corp", "use": {"mechanisms": ["plain"]}}`, `plugin corp: the mechanism "plain" that is to be used: use 1 to 20 upper-case letters`},
		{"a scheme that is none", `{"path": "/lib/corp", "use": {"transports": ["x:"]}}`, `plugin corp: the transport "x:" that is to be used`},
		{"something twice", `{"path": "/lib/corp", "use": {"signers": ["a", "b", "a"]}}`, "plugin corp: the signer a is to be used twice"},
		{"a list", `[]`, "its declaration cannot be read"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			untouched := plugins.Declaration{Config: plugins.Config{Path: "/before"}}
			d := untouched
			err := json.Unmarshal([]byte(tt.text), &d)
			e, ok := err.(*core.Error)
			if !ok || e.Stage != core.StageConfig || e.Class != core.Local || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%T %v\nwant %s", err, err, tt.says)
			}
			if !reflect.DeepEqual(d, untouched) {
				t.Errorf("it was changed: %+v", d)
			}
		})
	}
}

// Arguments and environment are no place for secrets, but people put them there.
func TestDeclaration_showsNoArgument(t *testing.T) {
	d := plugins.Declaration{Config: plugins.Config{Path: "/lib/corp", Args: []string{"hunter2"}, Env: []string{"A=hunter2"}}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, d); strings.Contains(text, "hunter2") {
			t.Errorf("%s shows %s", format, text)
		}
	}
	for _, text := range []string{
		`{"path": "/lib/corp", "args": "hunter2"}`,
		`{"path": "/lib/corp", "env": ["A=hunter2", "A=hunter2"]}`,
		`{"path": "/lib/corp", "env": ["hunter2"]}`,
		`{"path": "/lib/corp", "env": {"A": "hunter2"}}`,
		`{"path": "/lib/corp", "args": ["hunter2\u0000"]}`,
	} {
		err := json.Unmarshal([]byte(text), &d)
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "plugin corp: ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

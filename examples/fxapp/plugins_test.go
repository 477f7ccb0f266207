package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// declare writes a file for -plugins.
func declare(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugins.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPlugins_authenticate(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, RequireAuth: true, Users: map[string]string{"ann": "correct horse"}})
	s := settingsFor(server)
	s.connect = true
	s.plugins = declare(t, fmt.Sprintf(`{"plugins": [{"path": %q, "name": "corp-auth", "env": [%q]}]}`, self, pluginSwitch+"=1"))
	app, a := start(t, s)
	if _, err := send(t, a, "By plugin.", "you@example.net"); err != nil {
		t.Error(err)
	}
	app.RequireStop()
	if got := server.Messages(); len(got) != 1 || got[0].User != "ann" {
		t.Errorf("the server got %v", got)
	}
}

func TestPlugins_refused(t *testing.T) {
	for text, says := range map[string]string{
		`{"plugins": [{"path": "corp-auth"}]}`:     `the file of -plugins: config: plugin corp-auth: Config.Path "corp-auth" is not absolute`,
		`{"plugins": [{"paths": "/corp-auth"}]}`:   `json: unknown field "paths"`,
		`{"plugins": [{"path": "/no/corp-auth"}]}`: "plugin corp-auth: ",
	} {
		s := settings{endpoint: "smtp://127.0.0.1", plugins: declare(t, text)}
		err := fx.New(service(s, quiet()), fx.Invoke(func(*core.Client) {})).Err()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

package realserver_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins/sdk"
)

// This test is also the plugin that it has the mailer start: it has PLAIN, and the password.
func TestMailer_plugin(t *testing.T) {
	const role = "TEST_PLAIN_OF"
	if credentials, ok := os.LookupEnv(role); ok {
		user, password, err := readCredentials(credentials)
		if err != nil {
			sdk.Logger().Error("there are no credentials", "error", err)
			os.Exit(1)
		}
		sdk.Serve(sdk.Info("plain", "1.0"), sdk.Mechanism(mechanisms.Plain(user, password)))
	}
	p := realserver.StartPostfix(t)
	m := buildMailer(t)
	ca := m.authority(t, p.TLSAddr, p.RootCAs)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	declare := func(password string) string {
		name := m.file(t, "credentials-"+password, p.ASCIIUser+"\n"+password)
		config, err := json.Marshal(map[string]any{"plugins": []any{map[string]any{
			"path": self, "args": []string{"-test.run=^TestMailer_plugin$"}, "env": []string{role + "=" + name},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return m.file(t, "config-"+password, string(config))
	}
	right, wrong := declare(p.ASCIIPassword), declare("wrong")
	args := []string{"-ca", ca, "-from", "me@example.com", "-to", "alice@example.test", m.file(t, "mail.eml", "Subject: hi\r\n\r\nhi\r\n")}
	for _, url := range []string{"smtp://" + p.Addr, "smtps://" + p.TLSAddr} {
		with := func(more ...string) []string { return append(append([]string{"-url", url}, args...), more...) }
		for _, more := range [][]string{nil, {"-mech", "plain"}} {
			if r := m.send(t, 0, with(append(more, "-config", right)...)...)[0]; r.Mechanism != "PLAIN" || r.Outcome != "delivered" {
				t.Errorf("got %+v", r)
			}
		}
		if r := m.send(t, 77, with("-config", wrong)...)[0]; r.Error.Stage != "auth" || r.Error.Code != 535 {
			t.Errorf("got %+v", r.Error)
		}
		if f := m.probe(t, 0, "-url", url, "-ca", ca, "-config", right); f.Mechanism.Chosen != "PLAIN" {
			t.Errorf("got %+v", f.Mechanism)
		}
	}
	p.Settle(t)
}

// readCredentials reads a file with a user, and a password in the next line.
func readCredentials(name string) (user, password string, err error) {
	content, err := os.ReadFile(name)
	line, rest, _ := bytes.Cut(content, []byte("\n"))
	return string(line), string(rest), err
}

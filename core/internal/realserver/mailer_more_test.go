package realserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins/sdk"
)

// Empty content, and a dot where it begins, arrive as they are, by DATA and by BDAT.
func TestMailer_oddContent(t *testing.T) {
	p, d := realserver.StartPostfix(t), realserver.StartDovecot(t)
	m := buildMailer(t)
	contents := []string{"", ".\r\n", "..\r\n.\r\nhi\r\n", "Subject: x\r\n\r\n.\r\n..\r\n"}
	for _, server := range []struct {
		name, url string
		messages  func(t testing.TB, mailbox string, n int) [][]byte
		delivered func(content string) string
	}{
		// Postfix ends a header that there is none of.
		{"Postfix", "smtp://" + p.PlainAddr, p.WaitMessages, func(content string) string {
			if strings.HasPrefix(content, ".") {
				return "\r\n" + content
			}
			return content
		}},
		{"Dovecot", "lmtp+unix://" + d.Socket, d.WaitMessages, func(content string) string { return content }},
	} {
		for n, content := range contents {
			for _, chunking := range []string{"auto", "off"} {
				t.Run(fmt.Sprintf("%s, -chunking %s, %q", server.name, chunking, content), func(t *testing.T) {
					mailbox := fmt.Sprintf("odd%d%s@example.test", n, chunking)
					m.send(t, 0, "-url", server.url, "-from", "me@example.com", "-to", mailbox, "-chunking", chunking, m.file(t, "odd.eml", content))
					got, err := realserver.Content(server.messages(t, mailbox, 1)[0])
					if want := server.delivered(content); string(got) != want || err != nil {
						t.Errorf("%q arrived, want %q (%v)", got, want, err)
					}
				})
			}
		}
	}
	p.Settle(t)
}

// What cannot be sent as it is, and the order in which statuses count, with one server for all of it.
func TestMailer_severalStatuses(t *testing.T) {
	p := realserver.StartPostfix(t)
	m := buildMailer(t)
	to := func(name, address string) string {
		return m.file(t, name, "From: me@example.com\r\nTo: "+address+"\r\n\r\nhi\r\n")
	}
	good, refused, deferred := to("good.eml", "alice@example.test"), to("refused.eml", realserver.RefusedRecipient), to("deferred.eml", realserver.DeferredRecipient)
	for _, c := range []struct {
		status   int
		files    []string
		outcomes string
	}{
		{0, []string{good, good}, "delivered delivered"},
		{69, []string{good, refused}, "delivered not_delivered"},
		{75, []string{deferred, refused, good}, "not_delivered not_delivered delivered"},
		{65, []string{deferred, "/nonexistent/mail.eml", good}, "not_delivered not_delivered delivered"},
	} {
		var outcomes []string
		for n, r := range m.send(t, c.status, append([]string{"-url", "smtp://" + p.PlainAddr, "-header-envelope"}, c.files...)...) {
			if outcomes = append(outcomes, r.Outcome); r.File != c.files[n] {
				t.Errorf("result %d is of %s", n, r.File)
			}
		}
		if got := strings.Join(outcomes, " "); got != c.outcomes {
			t.Errorf("got %s, want %s", got, c.outcomes)
		}
	}
	// Further attempts are made of what was put off, and of nothing else.
	if r := m.send(t, 75, "-url", "smtp://"+p.PlainAddr, "-retries", "2", "-header-envelope", deferred)[0]; r.Attempts != 3 {
		t.Errorf("%d attempts", r.Attempts)
	}
	if r := m.send(t, 69, "-url", "smtp://"+p.PlainAddr, "-retries", "2", "-header-envelope", refused)[0]; r.Attempts != 1 {
		t.Errorf("%d attempts", r.Attempts)
	}
	// Nothing is sent with 64 and 78, nor anything printed.
	for status, args := range map[int][]string{
		64: {"-concurrency", "0"}, 78: {"-user", "me", "-password-file", m.file(t, "empty", "")},
	} {
		got, out, errs := m.run(t, append([]string{"send", "-json", "-url", "smtp://" + p.PlainAddr, "-header-envelope", good}, args...)...)
		if got != status || len(out) > 0 || strings.Count(errs, "\n") != 1 {
			t.Errorf("status %d, want %d: %s%s", got, status, out, errs)
		}
	}
	p.Settle(t)
	if n := len(p.WaitMessages(t, "alice@example.test", 5)); n != 5 {
		t.Errorf("%d messages arrived", n)
	}
}

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

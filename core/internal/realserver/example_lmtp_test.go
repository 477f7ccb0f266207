package realserver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/internal/realserver"
)

// TestExampleLMTP runs examples/lmtp, which cannot import this package, as a program against Dovecot's Unix socket.
func TestExampleLMTP(t *testing.T) {
	dovecot := realserver.StartDovecot(t)
	folder := t.TempDir()
	program, file := filepath.Join(folder, "lmtp"), filepath.Join(folder, "mail.eml")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/postrider/postrider/examples/lmtp")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const content = "Subject: by LMTP\r\n\r\n.\r\nhi\r\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	deliver := func(to ...string) (string, error) {
		args := []string{"-url", "lmtp+unix://" + dovecot.Socket, "-from", "me@example.com", "-message", file}
		for _, address := range to {
			args = append(args, "-to", address)
		}
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := deliver("alice@example.test"); err != nil || !strings.Contains(out, "accepted  alice@example.test     250 2.0.0 ") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err := deliver("bob@example.test", realserver.FullRecipient, realserver.BrokenRecipient, realserver.RefusedRecipient)
	if err == nil {
		t.Error("the program says that all were accepted")
	}
	for _, want := range []string{
		"accepted  bob@example.test       250 2.0.0 ",
		"refused   full@example.test      552 5.2.2 ",
		"deferred  broken@example.test    451 4.2.0 ",
		"refused   nobody@example.test    550 5.1.1 ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, mailbox := range []string{"alice@example.test", "bob@example.test"} {
		got, err := realserver.Content(dovecot.WaitMessages(t, mailbox, 1)[0])
		if string(got) != content || err != nil {
			t.Errorf("%q arrived for %s, %v", got, mailbox, err)
		}
	}
}

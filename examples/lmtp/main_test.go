package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The program without flags shows an outcome for each recipient, though some of
// the server's mailboxes take nothing.
func TestEmbedded(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(t.Context(), nil, &out, &errs); status != allAccepted || errs.Len() > 0 {
		t.Errorf("status %d, errors %q", status, &errs)
	}
	for _, want := range []string{
		"lmtp+unix:///", "/socket\n",
		"  accepted  alice@example.net      250 <alice@example.net> 2.0.0 ",
		"  refused   full@example.net       552 <full@example.net> 5.2.2 Mailbox full\n",
		"  accepted  bob@example.net        250 <bob@example.net> 2.0.0 ",
		"  deferred  busy@example.net       451 <busy@example.net> 4.2.0 Mailbox is busy, try again later\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// Dovecot on its socket is in core/internal/realserver, which can start one.
func TestFlags(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{Protocol: core.LMTP})
	file := filepath.Join(t.TempDir(), "mail.eml")
	if err := os.WriteFile(file, []byte("Subject: from a file\r\n\r\nhi\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"-url", s.URL(), "-from", "me@example.com", "-to", "a@example.net", "-to", "b@example.net", "-message", file}, &out, &errs)
	if status != allAccepted || errs.Len() > 0 || strings.Count(out.String(), "accepted ") != 2 {
		t.Errorf("status %d, errors %q, output\n%s", status, &errs, &out)
	}
	if status := run(t.Context(), []string{"-url", s.URL(), "-to", "a@example.net", "-from", "<>"}, &out, &errs); status != allAccepted {
		t.Errorf("status %d, errors %q", status, &errs)
	}
	messages := s.Messages()
	if len(messages) != 2 || messages[0].From != "me@example.com" || messages[1].From != "" {
		t.Errorf("arrived %+v", messages)
	}
}

func TestRefused(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"no such flag":   {[]string{"-x"}, badlyInvoked, "-h lists the flags"},
		"an argument":    {[]string{"x"}, badlyInvoked, `"x" is not a flag`},
		"no server":      {[]string{"-to", "a@example.net"}, badlyInvoked, "-url is missing"},
		"no recipient":   {[]string{"-url", "lmtp://localhost"}, badlyInvoked, "-to is missing"},
		"not a URL":      {[]string{"-url", "lmtp+unix://run/lmtp", "-to", "a@example.net"}, badlyInvoked, "three slashes"},
		"nobody listens": {[]string{"-url", "lmtp+unix:///nonexistent/lmtp", "-to", "a@example.net"}, failed, "/nonexistent/lmtp"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(t.Context(), c.args, &out, &errs); status != c.status || !strings.Contains(errs.String(), c.says) {
				t.Errorf("status %d, errors %q, want %d and %q", status, &errs, c.status, c.says)
			}
		})
	}
	var out, errs bytes.Buffer
	if status := run(gone, nil, &out, &errs); status != failed || !strings.Contains(errs.String(), "context canceled") {
		t.Errorf("interrupted: status %d, errors %q", status, &errs)
	}
	out.Reset()
	if status := run(t.Context(), []string{"-h"}, &out, &errs); status != allAccepted || !strings.Contains(out.String(), "-message FILE") {
		t.Errorf("-h: status %d, output %q", status, &out)
	}
}

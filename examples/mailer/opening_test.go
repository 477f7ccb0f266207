package main

import (
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core/smtptest"
)

// A server that does not let a session be opened is named all the same, and so is its reply.
func TestSend_noSessionIsOpened(t *testing.T) {
	const plain = "S: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250 AUTH PLAIN\n"
	password := file(t, "abc")
	for rule, tt := range map[string]struct {
		dialogue string
		more     []string
		status   int
		stage    string
		code     int
		text     string
	}{
		"the greeting is a refusal":          {"S: 554 5.3.2 go away\nHANG", nil, 69, "connect", 554, "go away"},
		"EHLO is refused":                    {"S: 220 hi\nC: EHLO client.example\nS: 550 no\nC: HELO client.example\nS: 550 no\nHANG", nil, 69, "hello", 550, "no"},
		"a reply without a text":             {"S: 220 hi\nC: EHLO client.example\nS: 250 mx\nC: MAIL FROM:<me@example.com>\nS: 451\nC: QUIT\nS: 221", nil, 75, "mail", 451, "the server gives no reason"},
		"a password of three octets is none": {plain + "C: AUTH PLAIN AG1lAGFiYw==\nS: 535 5.7.8 abc is not abcdef, AG1lAGFiYw\nHANG", []string{"-user", "me", "-password-file", password}, 77, "auth", 535, "[redacted] is not abcdef, [redacted] (check"},
		"AUTH is answered with 250":          {plain + "C: AUTH PLAIN AG1lAGFiYw==\nS: 250 ok\nHANG", []string{"-user", "me", "-password-file", password}, 75, "auth", 0, "AUTH answered with 250"},
		"STARTTLS is answered with 250":      {"S: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 250 ok\nHANG", nil, 75, "tls", 0, "STARTTLS answered with 250"},
	} {
		t.Run(rule, func(t *testing.T) {
			address := script(t, tt.dialogue, smtptest.Options{})
			r := mailer(t, to("smtp://"+address, append(tt.more, file(t, mail))...)...)
			r.ends(t, tt.status)
			got := r.one(t)
			if got.Server != address || got.Error.Stage != tt.stage || got.Error.Code != tt.code || !strings.Contains(got.Error.Text, tt.text) || got.Mechanism != "" {
				t.Errorf("got %s", r.stdout)
			}
		})
	}
}

// TLS where there is none is a breach of a protocol, and passes.
func TestSend_75NoTLSOnItsPort(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	r := mailer(t, to(strings.Replace(s.URL(), "smtp:", "smtps:", 1), file(t, mail))...)
	r.ends(t, 75)
	if got := r.one(t); got.Error.Stage != "tls" || got.Error.Class != "temporary" || !strings.Contains(got.Error.Text, "use the smtp scheme") {
		t.Errorf("got %s", r.stdout)
	}
}

// The deadline is for all of it, the farewell included.
func TestSend_deadlineOfTheFarewell(t *testing.T) {
	address := script(t, "S: 220 hi\nC: EHLO client.example\nS: 250 mx\nC: MAIL FROM:<me@example.com>\nS: 250 ok\nC: RCPT TO:<you@example.net>\nS: 250 ok\n"+
		"C: DATA\nS: 354 go on\nC: From: me@example.com\nC| To: you@example.net\nC| Subject: hi\nC|\nC| Hello.\nC| .\nS: 250 ok\nC: QUIT\nHANG", smtptest.Options{})
	began := time.Now()
	mailer(t, to("smtp://"+address, "-deadline", "1s", file(t, mail))...).ends(t, 0)
	if took := time.Since(began); took > quitTimeout-time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestProbe_refused(t *testing.T) {
	address := script(t, "S: 554 5.3.2 go away\nHANG", smtptest.Options{})
	f, r := look(t, "-url", "smtp://"+address)
	r.ends(t, 69, "connect: 554 go away")
	if f.Address != address || f.Greeting == nil || f.Greeting.Code != 554 || f.Error.Code != 554 {
		t.Errorf("got %s", r.stdout)
	}
	address = script(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 none\nHANG", smtptest.Options{})
	if r := mailer(t, "probe", "-helo", "client.example", "-url", "smtp://"+address); !strings.Contains(r.stdout, "TLS          failed: 454 none\n") || !strings.Contains(r.stderr, "tls: 454 none") {
		t.Errorf("for people: %s%s", r.stdout, r.stderr)
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// look runs probe -json.
func look(t *testing.T, args ...string) (finding, ran) {
	t.Helper()
	r := mailer(t, append([]string{"probe", "-json"}, args...)...)
	var f finding
	if err := json.Unmarshal([]byte(r.stdout), &f); err != nil {
		t.Fatalf("%v: %s %s", err, r.stdout, r.stderr)
	}
	return f, r
}

func TestProbe_server(t *testing.T) {
	good, ca := certificate(t, "127.0.0.1")
	users := map[string]string{"me": "secret"}
	s := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, TLS: good, Users: users, SCRAM: []string{"SCRAM-SHA-256"}, MaxSize: 1000, MaxRecipients: 7})
	f, r := look(t, "-url", s.URL(), "-ca", ca)
	r.ends(t, 0)
	if f.Protocol != "smtp" || f.Greeting.Code != 220 || f.BeforeTLS.Domain == "" || f.AfterTLS == nil {
		t.Errorf("got %s", r.stdout)
	}
	has := func(h *helloFound, keyword string) bool {
		for _, e := range h.Extensions {
			if e.Keyword == keyword {
				return true
			}
		}
		return false
	}
	if !has(f.BeforeTLS, "STARTTLS") || has(f.AfterTLS, "STARTTLS") || has(f.BeforeTLS, "AUTH") || !has(f.AfterTLS, "AUTH") {
		t.Errorf("got %s", r.stdout)
	}
	if f.TLS == nil || !f.TLS.Verified || f.TLS.Version != "TLS 1.3" || f.TLS.Certificate.Names[0] != "127.0.0.1" || len(f.TLS.Certificate.SHA256) != 64 {
		t.Errorf("got %s", r.stdout)
	}
	if f.Mechanism.Chosen != "SCRAM-SHA-256" || !strings.Contains(f.Mechanism.Why, "not offered: SCRAM-SHA-512-PLUS") {
		t.Errorf("got %s", r.stdout)
	}
	if f.Limits["size"] != 1000 || f.Limits["rcptmax"] != 7 {
		t.Errorf("got %s", r.stdout)
	}
	if r := mailer(t, "probe", "-url", s.URL(), "-ca", ca); r.status != 0 || !strings.Contains(r.stdout, "mechanism    SCRAM-SHA-256, the first") || !strings.Contains(r.stdout, "TLS 1.3") {
		t.Errorf("for people: %s", r.stdout)
	}
	if len(s.Messages()) > 0 {
		t.Error("it has sent something")
	}
}

func TestProbe_status(t *testing.T) {
	good, ca := certificate(t, "127.0.0.1")
	password := file(t, "secret")
	for rule, tt := range map[string]struct {
		options smtptest.ServerOptions
		args    []string
		status  int
		stage   string
	}{
		"0 a bad certificate on this machine":   {smtptest.ServerOptions{StartTLS: true, TLS: good}, nil, 0, ""},
		"69 a bad certificate where one is due": {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-tls", "required"}, 69, "tls"},
		"69 a bad certificate with smtps":       {smtptest.ServerOptions{ImplicitTLS: true, TLS: good}, nil, 69, "tls"},
		"0 a good one with smtps":               {smtptest.ServerOptions{ImplicitTLS: true, TLS: good}, []string{"-ca", ca}, 0, ""},
		"69 no TLS where it is due":             {smtptest.ServerOptions{}, []string{"-tls", "required"}, 69, "tls"},
		"77 no mechanism for a user":            {smtptest.ServerOptions{}, []string{"-user", "me", "-password-file", password}, 77, "auth"},
		"0 LMTP":                                {smtptest.ServerOptions{Protocol: core.LMTP}, nil, 0, ""},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, tt.options)
			f, r := look(t, append([]string{"-url", s.URL()}, tt.args...)...)
			r.ends(t, tt.status)
			if (f.Error != nil) != (tt.stage != "") || f.Error != nil && f.Error.Stage != tt.stage {
				t.Errorf("got %s", r.stdout)
			}
			if tt.options.TLS != nil && f.TLS == nil {
				t.Errorf("nothing is told of the certificate: %s", r.stdout)
			}
		})
	}
	if f, r := look(t, "-url", "smtp://127.0.0.1:1"); r.status != 75 || f.Error.Stage != "connect" || f.Address != "" {
		t.Errorf("no connection: status %d, %s", r.status, r.stdout)
	}
}

// A server that takes STARTTLS and does no handshake is told of as far as it
// goes, and so is one that has to be printed with care.
func TestProbe_faultyServers(t *testing.T) {
	address := script(t, "S: 220 mx\nC/ EHLO .*\nS: 250-mx\nS: 250-STARTTLS\nS: 250 SIZE 5\nC: STARTTLS\nS: 220 go\nCLOSE", smtptest.Options{})
	f, r := look(t, "-url", "smtp://"+address)
	r.ends(t, 75)
	if f.BeforeTLS == nil || f.AfterTLS != nil || f.TLS != nil || f.Error.Stage != "tls" || f.Limits["size"] != 5 {
		t.Errorf("got %s", r.stdout)
	}
	address = script(t, `S~ "220 \x1b[2J\r\n"`+"\nC/ EHLO .*\n"+`S~ "250-\x1b[2J\r\n250 X-\x07 \x1b\r\n"`+"\nC: QUIT\nS: 221 bye", smtptest.Options{})
	r = mailer(t, "probe", "-url", "smtp://"+address)
	r.ends(t, 0)
	if strings.ContainsAny(r.stdout, "\x1b\x07") {
		t.Errorf("got %q", r.stdout)
	}
	for _, greeting := range []string{"S: 554 no\nCLOSE", "S: 220 mx\nC/ EHLO .*\nS: 550 no\nC/ HELO .*\nS: 550 no\nCLOSE"} {
		f, r := look(t, "-url", "smtp://"+script(t, greeting, smtptest.Options{}))
		r.ends(t, 69)
		if f.Error == nil || f.Error.Class != "permanent" {
			t.Errorf("got %s", r.stdout)
		}
	}
}

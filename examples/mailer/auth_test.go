package main

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestAuth_mechanisms(t *testing.T) {
	users := map[string]string{"me": "pass word"}
	for rule, tt := range map[string]struct {
		options   smtptest.ServerOptions
		password  string
		more      []string
		mechanism string
	}{
		"the strongest that is offered":      {smtptest.ServerOptions{Users: users, SCRAM: []string{"SCRAM-SHA-256"}}, "pass word\n", nil, "SCRAM-SHA-256"},
		"the one that was asked for":         {smtptest.ServerOptions{Users: users, SCRAM: []string{"SCRAM-SHA-256"}}, "pass word\r\n", []string{"-mech", "plain"}, "PLAIN"},
		"one line end is left out, not two":  {smtptest.ServerOptions{Users: map[string]string{"me": "pass\n"}}, "pass\n\n", nil, "PLAIN"},
		"a password without a line end":      {smtptest.ServerOptions{Users: users}, "pass word", nil, "PLAIN"},
		"one that SCRAM cannot carry":        {smtptest.ServerOptions{Users: map[string]string{"me": "pass😀"}}, "pass😀\n", nil, "PLAIN"},
		"an access token":                    {smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"OAUTHBEARER": bearer}}, "", []string{"-token-file", file(t, "tok42\n")}, "OAUTHBEARER"},
		"ANONYMOUS, whose user is the trace": {smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"ANONYMOUS": trace}}, "", []string{"-mech", "anonymous"}, "ANONYMOUS"},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, tt.options)
			args := append(to(s.URL(), "-user", "me", file(t, mail)), tt.more...)
			if tt.password != "" {
				args = append(args, "-password-file", file(t, tt.password))
			}
			r := mailer(t, args...)
			r.ends(t, 0)
			if got := r.one(t).Mechanism; got != tt.mechanism || s.Messages()[0].Mechanism != tt.mechanism {
				t.Errorf("it was %q, for the server %q", got, s.Messages()[0].Mechanism)
			}
		})
	}
}

func bearer(responses [][]byte) smtptest.AuthStep {
	if !strings.Contains(string(responses[0]), "auth=Bearer tok42\x01") {
		return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no")}
	}
	return smtptest.AuthStep{User: "me"}
}

func trace(responses [][]byte) smtptest.AuthStep {
	return smtptest.AuthStep{User: string(responses[0])}
}

func TestAuth_statusOfServers(t *testing.T) {
	const offered = hello + "S: 250 AUTH PLAIN\nC/ AUTH PLAIN .*\n"
	for rule, tt := range map[string]struct {
		dialogue string
		status   int
		class    string
		code     int
	}{
		"77 refused":           {offered + "S: 535 5.7.8 no\nCLOSE", 77, "permanent", 535},
		"77 too weak":          {offered + "S: 534 5.7.9 no\nCLOSE", 77, "permanent", 534},
		"77 required":          {hello + "S: 250 AUTH PLAIN\nC/ AUTH PLAIN .*\nS: 530 5.7.0 no\nCLOSE", 77, "permanent", 530},
		"77 not offered":       {hello + "S: 250 HELP\nCLOSE", 77, "permanent", 0},
		"77 no common one":     {hello + "S: 250 AUTH X-OWN\nCLOSE", 77, "permanent", 0},
		"77 no EHLO":           {"S: 220 hi\nC: EHLO client.example\nS: 502 what?\nCLOSE", 77, "permanent", 502},
		"75 432":               {offered + "S: 432 4.7.12 no\nCLOSE", 75, "temporary", 432},
		"75 454":               {offered + "S: 454 4.7.0 no\nCLOSE", 75, "temporary", 454},
		"75 the end of it all": {offered + "CLOSE", 75, "temporary", 0},
	} {
		t.Run(rule, func(t *testing.T) {
			address := script(t, tt.dialogue, smtptest.Options{})
			r := mailer(t, to("smtp://"+address, "-user", "me", "-password-file", file(t, "secret\n"), file(t, mail))...)
			r.ends(t, tt.status)
			e := r.one(t).Error
			if e.Class != tt.class || e.Code != tt.code || e.Stage != "auth" && e.Stage != "hello" {
				t.Errorf("got %s", r.stdout)
			}
		})
	}
}

// Server text that echoes a credential is redacted, whatever the command was.
func TestAuth_echoIsRedacted(t *testing.T) {
	blob := base64.StdEncoding.EncodeToString([]byte("\x00me\x00hunter42"))
	for rule, dialogue := range map[string]string{
		"by AUTH":            hello + "S: 250 AUTH PLAIN\nC/ AUTH PLAIN .*\nS: 535 5.7.8 hunter42 is wrong " + blob + "\nCLOSE",
		"by MAIL":            hello + "S: 250 AUTH PLAIN\nC/ AUTH PLAIN .*\nS: 235 ok\nC/ MAIL .*\nS: 550 5.7.1 not with hunter42 and " + blob + "\nC: QUIT\nS: 221 bye",
		"by the last reply":  hello + "S: 250 AUTH PLAIN\nC/ AUTH PLAIN .*\nS: 235 ok\nC/ MAIL .*\nS: 250 ok\nC/ RCPT .*\nS: 250 ok\nC: DATA\nS: 354 go\nCONTENT\nS: 250 ok hunter42\nC: QUIT\nS: 221 bye",
		"by no known reply":  hello + "S: 250 AUTH PLAIN\nC/ AUTH PLAIN .*\nS: hunter42\nCLOSE",
		"as a queue ID":      hello + "S: 250 AUTH PLAIN\nC/ AUTH PLAIN .*\nS: 235 ok\nC/ MAIL .*\nS: 250 ok\nC/ RCPT .*\nS: 250 ok\nC: DATA\nS: 354 go\nCONTENT\nS: 250 2.0.0 Ok: queued as hunter42\nC: QUIT\nS: 221 bye",
		"before it was said": "S: 554 hunter42\nCLOSE",
	} {
		t.Run(rule, func(t *testing.T) {
			for _, form := range []string{"-json", ""} {
				address := script(t, dialogue, smtptest.Options{})
				args := []string{"send", "-url", "smtp://" + address, "-helo", "client.example", "-from", "me@example.com", "-to", "you@example.net",
					"-user", "me", "-password-file", file(t, "hunter42\n"), file(t, mail)}
				if form != "" {
					args = append(args, form)
				}
				r := mailer(t, args...)
				if got := r.stdout + r.stderr; strings.Contains(got, "hunter42") || strings.Contains(got, blob) {
					t.Errorf("%q", got)
				}
			}
		})
	}
}

// A server that wants authentication, and nobody to be.
func TestAuth_77Required(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply {
		return smtptest.Reply("530 5.7.0 authentication required")
	}})
	mailer(t, to(s.URL(), file(t, mail))...).ends(t, 77, "authentication required")
}

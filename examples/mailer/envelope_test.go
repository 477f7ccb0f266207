package main

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/core/smtptest"
)

func TestEnvelope_ofTheHeader(t *testing.T) {
	const content = "From: Me <me@example.com>\r\nTo: a@example.net, A Group: b@example.net;\r\nBcc: c@example.net\r\nSubject: hi\r\n\r\nBcc: text\r\n"
	for rule, tt := range map[string]struct {
		more  []string
		from  string
		to    string
		stdin bool
	}{
		"sender and recipients":      {nil, "me@example.com", "a@example.net b@example.net c@example.net", false},
		"of standard input":          {nil, "me@example.com", "a@example.net b@example.net c@example.net", true},
		"-from in its place":         {[]string{"-from", "<>"}, "", "a@example.net b@example.net c@example.net", false},
		"-to in their place":         {[]string{"-to", "z@example.net"}, "me@example.com", "z@example.net", false},
		"with parameters for each":   {[]string{"-dsn", "notify=never;ret=hdrs envid=a+b"}, "me@example.com", "a@example.net b@example.net c@example.net", false},
		"with parameters for theirs": {[]string{"-to", "z@example.net", "-dsn", "NOTIFY=NEVER", "-dsn", "ret=hdrs;ENVID=a+b"}, "me@example.com", "z@example.net", false},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, smtptest.ServerOptions{DSN: true})
			args := append([]string{"send", "-url", s.URL(), "-header-envelope"}, tt.more...)
			if !tt.stdin {
				args = append(args, file(t, content))
			}
			mailerWith(t, content, nil, args...).ends(t, 0)
			m := s.Messages()[0]
			var to []string
			for _, one := range m.To {
				to = append(to, one.Address)
				if strings.Contains(rule, "parameters") && one.Params["NOTIFY"] != "NEVER" {
					t.Errorf("%s has %v", one.Address, one.Params)
				}
			}
			if m.From != tt.from || strings.Join(to, " ") != tt.to || string(m.Content) != strings.Replace(content, "Bcc: c@example.net\r\n", "", 1) {
				t.Errorf("arrived %+v %q", m.Envelope, m.Content)
			}
			if strings.Contains(rule, "parameters") && (m.Params["RET"] != "HDRS" || m.Params["ENVID"] != "a+b") {
				t.Errorf("MAIL has %v", m.Params)
			}
		})
	}
}

func TestDSN_add(t *testing.T) {
	for text, want := range map[string]string{
		"NOTIFY=SUCCESS,FAILURE,DELAY RET=FULL ENVID=id42": "RET=FULL ENVID=id42 NOTIFY=SUCCESS,FAILURE,DELAY",
		"notify=delay":              "NOTIFY=DELAY",
		"NOTIFY=never; RET=hdrs":    "RET=HDRS NOTIFY=NEVER",
		"ENVID=x=y":                 "ENVID=x+3Dy",
		"":                          "error: it is empty",
		"NOTIFY=":                   "error: NOTIFY is NEVER",
		"NOTIFY=NEVER,SUCCESS":      "error: NOTIFY is NEVER",
		"RET=":                      "error: RET is FULL or HDRS",
		"SUCCESS":                   `error: "SUCCESS" is none of`,
		"NOTIFY=NEVER NOTIFY=DELAY": "error: NOTIFY is there twice",
	} {
		var d dsn
		got := ""
		if err := d.add(text); err != nil {
			got = "error: " + err.Error()
		} else {
			var parts []string
			for _, p := range append(d.mail, d.rcpt...) {
				parts = append(parts, p.String())
			}
			got = strings.Join(parts, " ")
		}
		if got != want && !(strings.HasPrefix(want, "error") && strings.HasPrefix(got, want)) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

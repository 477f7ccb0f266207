package main

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// secret is from whom messages need TLS 1.3.
const secret = "salaries@example.com"

func needsTLS13(m *core.Message) uint16 {
	if m.From == secret {
		return tls.VersionTLS13
	}
	return 0
}

func provePolicy(t *testing.T, change func(*core.Config)) {
	rules := policy{mostOctets: 100, mostRecipients: 2, noMail: func(domain string) bool { return domain == "blocked.example" }, leastTLS: needsTLS13}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := smtptest.NewServer(t, smtptest.ServerOptions{Remote: true, StartTLS: true})
		config := server.Config()
		config.TLS.MaxVersion = version
		change(&config)
		client := newClient(t, config, rules.interceptor())
		results := sendAll(t, client, func(n int) *core.Message {
			m := letter(n, "ann@example.net", "bob@example.net")
			switch n % 5 {
			case 1:
				m.To = append(m.To, m.To...)
			case 2:
				m.Body = core.String(strings.Repeat("x", 101))
			case 3:
				m.To[0].Address = "eve@Blocked.example"
			case 4:
				m.From = secret
			}
			return m
		})
		accepted := 0
		for _, r := range results {
			want := []core.Outcome{core.Accepted, core.Accepted}
			switch {
			case r.Index%5 == 1:
				want = []core.Outcome{core.Refused, core.Refused, core.Refused, core.Refused}
			case r.Index%5 == 2, r.Index%5 == 4 && version == tls.VersionTLS12:
				want = []core.Outcome{core.Refused, core.Refused}
			case r.Index%5 == 3:
				want[0] = core.Refused
			}
			wantOutcomes(t, r.Receipt, want...)
			if r.Receipt.Count(core.Accepted) > 0 {
				accepted++
			}
		}
		if got := len(server.Messages()); got != accepted {
			t.Errorf("%s: the server got %d messages, want %d", tls.VersionName(version), got, accepted)
		}
		if s := client.Stats(); s.Closed > 0 {
			t.Errorf("%s: %d sessions were closed for what was refused", tls.VersionName(version), s.Closed)
		}
	}
}

func TestPolicy(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	rules := policy{mostOctets: 100, noMail: func(domain string) bool { return domain == "xn--bcher-kva.example" }, leastTLS: needsTLS13}
	none := newClient(t, server.Config(), policy{}.interceptor())
	client := newClient(t, server.Config(), rules.interceptor())
	for _, tt := range []struct {
		rule   string
		client *core.Client
		from   string
		to     string
		body   core.Body
		want   core.Outcome
	}{
		{"100 octets are not more than 100", client, "", "ann@example.net", core.String(strings.Repeat("x", 98) + "\r\n"), core.Accepted},
		{"what has an unknown size is refused", client, "", "ann@example.net", core.Reader(strings.NewReader("x")), core.Refused},
		{"no spelling of a domain gets past", client, "", `"a@b"@BÜCHER.example`, core.String("x"), core.Refused},
		{"on this machine no TLS is needed", client, secret, "ann@example.net", core.String("x"), core.Accepted},
		{"zero sets no rule", none, secret, "ann@example.net", core.Reader(strings.NewReader(strings.Repeat("x", 5000))), core.Accepted},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			receipt, _ := tt.client.Send(t.Context(), &core.Message{From: tt.from, To: core.Recipients(tt.to), Body: tt.body})
			wantOutcomes(t, receipt, tt.want)
		})
	}
}

// The session that an attempt begins on has TLS, and has died; the one in its
// place has none.
func TestPolicy_aSessionThatIsReplaced(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	script := smtptest.NewScript(t, `
		S: 220 server.example
		C: EHLO client.example
		S: 250-server.example
		S: 250 STARTTLS
		C: STARTTLS
		S: 220 go ahead
		TLS
		C: EHLO client.example
		S: 250-server.example
		S: 250 PIPELINING
		C: MAIL FROM:<salaries@example.com>
		C| RCPT TO:<ann@example.net>
		C| DATA
		S: 250 ok
		S: 250 ok
		S: 354 go on
		CONTENT
		S: 250 ok
		CLOSE
		---
		S: 220 server.example
		C: EHLO client.example
		S: 250-server.example
		S: 250 PIPELINING
		C: QUIT
		S: 221 bye
	`, smtptest.Options{Remote: true, TLS: server})
	config := script.Config()
	config.TLS, config.TLSPolicy = trust, core.TLSOpportunistic
	client := newClient(t, config, policy{leastTLS: needsTLS13}.interceptor())
	send := func() (*core.Receipt, error) {
		m := letter(0, "ann@example.net")
		m.From = secret
		return client.Send(t.Context(), m)
	}
	if _, err := send(); err != nil {
		t.Fatal(err)
	}
	receipt, err := send()
	wantOutcomes(t, receipt, core.Refused)
	if !errors.Is(err, core.ErrTLSRequired) || !strings.Contains(err.Error(), "the message needs TLS 1.3") {
		t.Errorf("got %v", err)
	}
}

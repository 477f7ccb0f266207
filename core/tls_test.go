package core_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

const (
	offersTLS = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250 STARTTLS\n"
	startTLS  = offersTLS + "C: STARTTLS\n"
	underTLS  = "S: 220 go\nTLS\nC: EHLO client.example\nS: 250-mx.example\nS: 250 PIPELINING\n"
)

func TestTLS(t *testing.T) {
	good, trust := smtptest.NewCertificate(t, "server.example")
	wrongHost, trustWrongHost := smtptest.NewCertificate(t, "other.example")
	old := good.Clone()
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	required := func(c *core.Config) { c.TLSPolicy = core.TLSRequired }
	for _, tt := range []struct {
		rule     string
		dialogue string
		remote   bool
		server   *tls.Config
		client   *tls.Config
		change   func(*core.Config)
		class    core.Class // zero: the message is accepted
		kind     error
	}{
		{"STARTTLS is used, and what was announced in the clear is forgotten (RFC 3207 §4.2)",
			startTLS + "S: 220 go\nTLS\nC: EHLO client.example\nS: 250 mx.example\nC: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: DATA\nS: 354 go on\n" + sent + bye,
			true, good, trust, nil, 0, nil},
		{"D10 STARTTLS announced again under TLS is not used twice (RFC 3207 §4.2)",
			startTLS + "S: 220 go\nTLS\nC: EHLO client.example\nS: 250-mx.example\nS: 250-STARTTLS\nS: 250 PIPELINING\n" + envelope + goOn + sent + bye,
			true, good, trust, nil, 0, nil},
		{"D3 STARTTLS is not offered: nothing but EHLO is sent to another machine", pipelining, true, nil, nil, nil, core.Permanent, core.ErrTLSRequired},
		{"D3 the same on this machine if the policy requires TLS", pipelining, false, nil, nil, required, core.Permanent, core.ErrNotSupported},
		{"on this machine TLS need not be", pipelining + envelope + goOn + sent + bye, false, nil, nil, nil, 0, nil},
		{"TLSOff leaves it alone", offersTLS + envelope + goOn + sent + bye, true, nil, nil, func(c *core.Config) { c.TLSPolicy = core.TLSOff }, 0, nil},
		{"TLSOpportunistic does without", pipelining + envelope + goOn + sent + bye, true, nil, nil, func(c *core.Config) { c.TLSPolicy = core.TLSOpportunistic }, 0, nil},
		{"D1 clear text behind the reply to STARTTLS is fatal (RFC 3207 §6)", startTLS + "S: 220 go\nS: 250 AUTH PLAIN\nHANG", true, good, trust, nil, core.Temporary, core.ErrProtocol},
		{"D5 a failed handshake does not go back to clear text", startTLS + "S: 220 go\nS~ \"\"\nCLOSE", true, good, trust, nil, core.Temporary, core.ErrDisconnected},
		{"and another success than 220 may mean anything", startTLS + "S: 250 ok\nHANG", true, good, trust, nil, core.Temporary, core.ErrProtocol},
		{"29 454 to STARTTLS is temporary (RFC 3207 §4)", startTLS + "S: 454 4.3.0 not now", true, good, trust, nil, core.Temporary, nil},
		{"trap 12: EHLO refused under TLS is not followed by HELO", startTLS + "S: 220 go\nTLS\nC: EHLO client.example\nS: 502 what\n", true, good, trust, nil, core.Permanent, core.ErrHello},
		{"C1 HELO is no way around required TLS", "S: 220 hi\nC: EHLO client.example\nS: 502 what", true, nil, nil, nil, core.Permanent, core.ErrHello},
		{"D6 a certificate for another host is refused", startTLS + "S: 220 go\nTLS", true, wrongHost, trustWrongHost, nil, core.Permanent, nil},
		{"D6 an unknown authority is refused", startTLS + "S: 220 go\nTLS", true, good, nil, nil, core.Permanent, nil},
		{"D6 either is reported and let pass under TLSOpportunistic", startTLS + underTLS + envelope + goOn + sent + bye, true, wrongHost, nil, func(c *core.Config) { c.TLSPolicy = core.TLSOpportunistic }, 0, nil},
		{"D7 TLS 1.1 is refused (RFC 8997)", startTLS + "S: 220 go\nTLS", true, old, trust, nil, core.Temporary, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			change := func(c *core.Config) {
				c.TLS = tt.client
				if tt.change != nil {
					tt.change(c)
				}
			}
			c := newClient(t, tt.dialogue, smtptest.Options{Remote: tt.remote, TLS: tt.server, OverTCP: true}, change)
			receipt, err := c.Send(t.Context(), message("b@example.com"))
			if tt.class == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Class != tt.class || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("error %v", err)
			}
			want := "refused"
			if tt.class == core.Temporary {
				want = "deferred"
			}
			if got := receipt.Recipients[0].Outcome.String(); got != want {
				t.Errorf("outcome %s, want %s", got, want)
			}
		})
	}
}

func TestTLS_theReasonIsReachable_D6(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "other.example")
	c := newClient(t, startTLS+"S: 220 go\nTLS", smtptest.Options{Remote: true, TLS: server, OverTCP: true}, func(c *core.Config) { c.TLS = trust })
	_, err := c.Send(t.Context(), message("b@example.com"))
	if e, ok := errors.AsType[x509.HostnameError](err); !ok || e.Host != "server.example" {
		t.Errorf("error %v: D15 the name verified is the configured host, never the server's claim", err)
	}
}

func TestTLS_whatDoesNotVerifyIsReported(t *testing.T) {
	server, _ := smtptest.NewCertificate(t, "other.example")
	c := newClient(t, startTLS+underTLS+envelope+goOn+sent+bye, smtptest.Options{TLS: server})
	receipt, err := c.Send(t.Context(), message("b@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if p := receipt.Peer; p.TLS == nil || p.TLSError == nil || p.TLS.Version != tls.VersionTLS13 {
		t.Errorf("peer %+v", p)
	}
}

func TestTLS_implicit(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	t.Run("it comes before the greeting (RFC 8314 §3.3)", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{Remote: true, ImplicitTLS: true, TLS: server}, func(c *core.Config) { c.TLS = trust })
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if err != nil || receipt.Peer.TLS == nil || receipt.Peer.TLSError != nil {
			t.Error(err)
		}
	})
	t.Run("it verifies on this machine too", func(t *testing.T) {
		c := newClient(t, "HANG", smtptest.Options{ImplicitTLS: true, TLS: server, OverTCP: true})
		_, err := c.Send(t.Context(), message("b@example.com"))
		hasError(t, err, core.StageTLS, core.Permanent, nil)
	})
	t.Run("A11 clear text on its port is said to be that", func(t *testing.T) {
		script := smtptest.NewScript(t, "S: 220 mx.example ESMTP\nIGNORE", smtptest.Options{OverTCP: true})
		config := script.Config()
		config.Transports = []core.Transport{secured{config.Transports[0]}}
		_, err := core.Dial(t.Context(), config)
		e := hasError(t, err, core.StageTLS, core.Temporary, nil)
		if e.Hint == "" {
			t.Error("no hint")
		}
	})
}

func TestSession_startTLSByHand(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	config := smtptest.NewScript(t, startTLS+underTLS+"C: MAIL FROM:<a@example.com>\nS: 250 ok\n", smtptest.Options{Remote: true, TLS: server}).Config()
	config.TLS = trust
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	hasError(t, s.StartTLS(ctx), core.StageTLS, core.Local, nil) // before Hello
	if err := s.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	hasError(t, s.Mail(ctx, "a@example.com"), core.StageTLS, core.Local, core.ErrTLSRequired)
	if err := s.StartTLS(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Peer().Extensions.Has("STARTTLS") {
		t.Error("what was announced in the clear is still believed")
	}
	hasError(t, s.StartTLS(ctx), core.StageTLS, core.Local, nil) // a second time
	if err := s.Mail(ctx, "a@example.com"); err != nil {
		t.Fatal(err)
	}
}

// secured says of a transport that TLS begins at once.
type secured struct{ core.Transport }

func (s secured) Endpoint(u *url.URL) (core.Endpoint, error) {
	e, err := s.Transport.Endpoint(u)
	e.Security = core.ImplicitTLS
	return e, err
}

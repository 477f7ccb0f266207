package smtptest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

func TestServer_TLS(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		options smtptest.ServerOptions
	}{
		{"STARTTLS", smtptest.ServerOptions{StartTLS: true}},
		{"from the first octet", smtptest.ServerOptions{ImplicitTLS: true}},
		{"STARTTLS in LMTP", smtptest.ServerOptions{StartTLS: true, Protocol: core.LMTP}},
	} {
		for _, remote := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, remote %v", tt.rule, remote), func(t *testing.T) {
				tt.options.Remote = remote
				tt.options.Users = map[string]string{"ann": "correct horse"}
				server := smtptest.NewServer(t, tt.options)
				client := clientOf(t, server, func(c *core.Config) { c.Auth = mechanisms.Password("ann", "correct horse") })
				receipt, err := client.Send(t.Context(), message("bob@example.net"))
				if err != nil {
					t.Fatal(err)
				}
				if receipt.Peer.TLSError != nil {
					t.Error(receipt.Peer.TLSError)
				}
				m := server.Messages()[0]
				if m.TLS == nil || m.TLS.Version != tls.VersionTLS13 || m.User != "ann" || m.Mechanism != "PLAIN" {
					t.Errorf("%+v", m.Envelope)
				}
			})
		}
	}
	t.Run("a certificate of the test's own", func(t *testing.T) {
		wrong, trust := smtptest.NewCertificate(t, "other.example")
		server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, TLS: wrong, Remote: true})
		_, err := clientOf(t, server, func(c *core.Config) { c.TLS = trust }).Send(t.Context(), message("bob@example.net"))
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Error(err)
		}
	})
	t.Run("a remote server without it is refused", func(t *testing.T) {
		server := smtptest.NewServer(t, smtptest.ServerOptions{Remote: true})
		_, err := clientOf(t, server).Send(t.Context(), message("bob@example.net"))
		if !errors.Is(err, core.ErrTLSRequired) {
			t.Error(err)
		}
	})
}

// ticket is the server's side of a mechanism that asks twice.
func ticket(responses [][]byte) smtptest.AuthStep {
	switch last := string(responses[len(responses)-1]); {
	case len(responses) == 1:
		return smtptest.AuthStep{Challenge: []byte("ticket?")}
	case last == "ticket 0":
		return smtptest.AuthStep{Refusal: smtptest.Reply("454 4.7.0 later")}
	case last == "ticket 42":
		return smtptest.AuthStep{User: "ann"}
	}
	return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no such ticket")}
}

// holder is the client's side.
type holder string

func (holder) Name() string { return "X-TICKET" }

func (h holder) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return h, nil, nil
}

func (h holder) Next(context.Context, []byte) ([]byte, error) { return []byte(h), nil }

func (holder) Done(context.Context) error { return nil }

func TestServer_auth(t *testing.T) {
	options := smtptest.ServerOptions{
		Users: map[string]string{"ann": "correct horse"}, Mechanisms: map[string]smtptest.AuthFunc{"X-TICKET": ticket},
		RequireAuth: true,
	}
	for _, tt := range []struct {
		rule  string
		auth  []core.Mechanism
		class core.Class // zero: the message is accepted, from ann
		reply string
	}{
		{"the right password", []core.Mechanism{mechanisms.Plain("ann", "correct horse")}, 0, ""},
		{"a wrong password", []core.Mechanism{mechanisms.Plain("ann", "battery staple")}, core.Permanent, "535 5.7.8 wrong user or password"},
		{"an unknown user", []core.Mechanism{mechanisms.Plain("eve", "correct horse")}, core.Permanent, "535 5.7.8 wrong user or password"},
		{"a mechanism of the test's own", []core.Mechanism{holder("ticket 42")}, 0, ""},
		{"which refuses", []core.Mechanism{holder("ticket 43")}, core.Permanent, "535 5.7.8 no such ticket"},
		{"and defers", []core.Mechanism{holder("ticket 0")}, core.Temporary, "454 4.7.0 later"},
		{"nobody, who may not send", nil, core.Permanent, "530 5.7.0 authentication required"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			server := smtptest.NewServer(t, options)
			_, err := clientOf(t, server, func(c *core.Config) { c.Auth = tt.auth }).Send(t.Context(), message("bob@example.net"))
			if tt.class == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if m := server.Messages()[0]; m.User != "ann" || m.Mechanism != tt.auth[0].Name() {
					t.Errorf("%+v", m.Envelope)
				}
				return
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Class != tt.class || e.Reply.String() != tt.reply {
				t.Errorf("error %v, want %s", err, tt.reply)
			}
		})
	}
}

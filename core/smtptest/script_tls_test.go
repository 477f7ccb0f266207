package smtptest_test

import (
	"crypto/tls"
	"errors"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// A handshake that the client breaks off does not leave the two waiting for each
// other, though a pipe holds nothing.
func TestScript_failedHandshake(t *testing.T) {
	server, _ := smtptest.NewCertificate(t, "other.example")
	for _, options := range []smtptest.Options{{}, {ImplicitTLS: true}, {OverTCP: true}, {OverTCP: true, ImplicitTLS: true}} {
		options.TLS = server
		for _, tt := range []struct{ rule, rest, complaint string }{
			{"is the client's to report", "", ""},
			{"also if the server says more", "\nS: 220 hi", ""},
			{"but not if the client was to say more", "\nC: A", "connection 1, line 2 of the dialogue\n\tstep: C: A\n\twant: a TLS handshake that succeeds, and this step\n\tgot:  "},
		} {
			t.Run(tt.rule, func(t *testing.T) {
				dialogue := "TLS" + tt.rest
				if options.ImplicitTLS {
					dialogue = "# TLS is there at once" + tt.rest
				}
				s := start(t, dialogue, options)
				conn := connect(t, s)
				err := tls.Client(conn, &tls.Config{ServerName: "server.example"}).Handshake()
				if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
					t.Error(err)
				}
				_ = conn.Close()
				checkComplaint(t, s.Close(), tt.complaint)
			})
		}
	}
}

func TestScript_TLS(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	trust.ServerName = "server.example"
	for _, options := range []smtptest.Options{{}, {ImplicitTLS: true}, {OverTCP: true}, {OverTCP: true, ImplicitTLS: true}} {
		dialogue := "S: 220 hi\nC: A\nC| B"
		if !options.ImplicitTLS {
			dialogue = "TLS\n" + dialogue
		}
		options.TLS = server
		s := start(t, dialogue, options)
		raw := connect(t, s)
		conn := tls.Client(raw, trust)
		hear(t, conn, "220 hi\r\n")
		say(conn, "A\r\nB\r\n")
		_ = raw.Close()
		checkComplaint(t, s.Close(), "")
	}
	t.Run("a client certificate may be asked for", func(t *testing.T) {
		mutual := server.Clone()
		mutual.ClientAuth = tls.RequireAnyClientCert
		s := start(t, "TLS\nC: A\nS: 250 ok", smtptest.Options{TLS: mutual})
		own := trust.Clone()
		own.Certificates = server.Certificates
		raw := connect(t, s)
		conn := tls.Client(raw, own)
		say(conn, "A\r\n")
		hear(t, conn, "250 ok\r\n")
		_ = raw.Close()
		checkComplaint(t, s.Close(), "")
	})
	t.Run("ImplicitTLS without a configuration is a server that speaks clear text", func(t *testing.T) {
		s := smtptest.NewScript(t, "S: 220 hi\nIGNORE", smtptest.Options{ImplicitTLS: true})
		_, err := core.Dial(t.Context(), s.Config())
		if _, ok := errors.AsType[tls.RecordHeaderError](err); !ok {
			t.Error(err)
		}
	})
}

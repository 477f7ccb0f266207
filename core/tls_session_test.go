package core_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// resumptions sends messages, each on a connection of its own, and returns
// whether the TLS session of each was resumed.
func resumptions(t *testing.T, server *smtptest.Server, n int, change func(*core.Config)) string {
	t.Helper()
	config := server.Config()
	config.IdleTimeout = -1
	if change != nil {
		change(&config)
	}
	c, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var resumed []string
	for range n {
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if err != nil {
			t.Fatal(err)
		}
		resumed = append(resumed, fmt.Sprint(receipt.Peer.TLS.DidResume))
	}
	return strings.Join(resumed, " ")
}

func TestTLS_sessionsAreResumed(t *testing.T) {
	for kind, options := range tlsKinds {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			server := smtptest.NewServer(t, options)
			base := server.Config().TLS
			base.MaxVersion = version
			with := func(change func(*tls.Config)) func(*core.Config) {
				return func(c *core.Config) {
					c.TLS = base.Clone()
					change(c.TLS)
				}
			}
			for _, tt := range []struct {
				rule   string
				change func(*tls.Config)
				want   string
			}{
				{"by default", func(*tls.Config) {}, "false true true"},
				{"a client has its own cache", func(*tls.Config) {}, "false true true"},
				{"it can be switched off", func(c *tls.Config) { c.SessionTicketsDisabled = true }, "false false false"},
				{"who wants to see each certificate does", func(c *tls.Config) {
					c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
				}, "false false false"},
				{"who may show another certificate each time does", func(c *tls.Config) {
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
				}, "false false false"},
				{"VerifyConnection is called anyway", func(c *tls.Config) { c.VerifyConnection = func(tls.ConnectionState) error { return nil } }, "false true true"},
			} {
				if got := resumptions(t, server, 3, with(tt.change)); got != tt.want {
					t.Errorf("%s, %s, %s: resumed %s, want %s", kind, tls.VersionName(version), tt.rule, got, tt.want)
				}
			}
			shared := tls.NewLRUClientSessionCache(0)
			change := with(func(c *tls.Config) { c.ClientSessionCache = shared })
			if first, second := resumptions(t, server, 1, change), resumptions(t, server, 1, change); first != "false" || second != "true" {
				t.Errorf("%s: a cache that two clients share: resumed %s, then %s", kind, first, second)
			}
			if base.ClientSessionCache != nil {
				t.Error("the caller's configuration is changed")
			}
		}
	}
}

// What was let pass is let pass, and reported, on each session that is resumed.
func TestTLS_resumedUnverifiedIsReported(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Remote: true, StartTLS: true})
	var reports []string
	resumed := resumptions(t, server, 3, func(c *core.Config) {
		c.TLS, c.TLSPolicy = nil, core.TLSOpportunistic
		c.Interceptors = []core.Interceptor{{Name: "report", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				err := next(ctx, d)
				reports = append(reports, fmt.Sprint(d.Receipt().Peer.TLSError))
				return err
			}
		}}}
	})
	if resumed != "false true true" {
		t.Errorf("resumed %s", resumed)
	}
	for _, report := range reports {
		if !strings.Contains(report, "unknown authority") {
			t.Errorf("reported %q", report)
		}
	}
	if len(reports) != 3 {
		t.Errorf("%d reports", len(reports))
	}
}

// A session of a server that was not verified is no way around verification.
func TestTLS_resumptionDoesNotReplaceVerification(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Remote: true, StartTLS: true})
	shared := tls.NewLRUClientSessionCache(0)
	resumptions(t, server, 2, func(c *core.Config) {
		c.TLS, c.TLSPolicy = &tls.Config{ClientSessionCache: shared}, core.TLSOpportunistic
	})
	config := server.Config()
	config.TLS = &tls.Config{ClientSessionCache: shared}
	c, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Send(t.Context(), message("b@example.com"))
	hasError(t, err, core.StageTLS, core.Permanent, nil)
}

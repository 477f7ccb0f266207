package smtptest_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

var allOfSCRAM = []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"}

// Each variant, each binding, under each version of TLS, and again in a session
// of TLS that is resumed.
func TestServer_SCRAM(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, options := range []smtptest.ServerOptions{{StartTLS: true}, {ImplicitTLS: true}} {
			var trust *tls.Config
			options.TLS, trust = smtptest.NewCertificate(t, "127.0.0.1", "::1")
			options.TLS.MinVersion, options.TLS.MaxVersion = version, version
			options.Users, options.SCRAM, options.RequireAuth = map[string]string{"ann": "correct horse"}, allOfSCRAM, true
			server := smtptest.NewServer(t, options)
			for _, hash := range []mechanisms.Hash{mechanisms.SHA1, mechanisms.SHA256, mechanisms.SHA512} {
				for _, config := range []mechanisms.SCRAM{{}, {Plus: true}, {Plus: true, Binding: mechanisms.TLSExporter}, {Plus: true, Binding: mechanisms.TLSServerEndPoint}} {
					config.Hash = hash
					m := config.Mechanism("ann", "correct horse")
					t.Run(fmt.Sprintf("%s, %v, %s, STARTTLS %v", m.Name(), config.Binding, tls.VersionName(version), options.StartTLS), func(t *testing.T) {
						before := len(server.Messages())
						client := clientOf(t, server, func(c *core.Config) {
							c.TLS, c.Auth = trust, []core.Mechanism{m}
							c.MaxSessionMessages = 1 // so the second has a session of its own
						})
						for range 2 {
							if _, err := client.Send(t.Context(), message("bob@example.net")); err != nil {
								t.Fatal(err)
							}
						}
						for i, got := range server.Messages()[before:] {
							if got.User != "ann" || got.Mechanism != m.Name() || got.TLS.DidResume != (i == 1) {
								t.Errorf("message %d: user %q by %q, resumed %v", i, got.User, got.Mechanism, got.TLS.DidResume)
							}
						}
					})
				}
			}
		}
	}
}

func TestServer_SCRAM_refuses(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{ImplicitTLS: true, Users: map[string]string{"ann": "correct horse"}, SCRAM: allOfSCRAM})
	for _, tt := range []struct {
		rule string
		m    core.Mechanism
		ok   bool
	}{
		{"a wrong password", mechanisms.SCRAMSHA256Plus("ann", "battery staple"), false},
		{"an unknown user", mechanisms.SCRAMSHA256Plus("eve", "correct horse"), false},
		{"who wants to act for another", mechanisms.SCRAM{Identity: "eve"}.Mechanism("ann", "correct horse"), false},
		{"not who wants to act for himself", mechanisms.SCRAM{Identity: "ann"}.Mechanism("ann", "correct horse"), true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := clientOf(t, server, func(c *core.Config) { c.Auth = []core.Mechanism{tt.m} }).Send(t.Context(), message("bob@example.net"))
			if tt.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Reply.String() != "535 5.7.8 wrong user or password" {
				t.Error(err)
			}
		})
	}
}

// RFC 4954 §4: what answers the server's signature is empty.
func TestServer_SCRAM_refusesAnAnswerToItsSignature(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Users: map[string]string{"ann": "correct horse"}, SCRAM: []string{"SCRAM-SHA-256"}, RequireAuth: true})
	talks := talker{mechanisms.SCRAMSHA256("ann", "correct horse")}
	_, err := clientOf(t, server, func(c *core.Config) { c.Auth = []core.Mechanism{talks} }).Send(t.Context(), message("bob@example.net"))
	if e, ok := errors.AsType[*core.Error](err); !ok || e.Reply.String() != "501 5.5.2 that is no message of SCRAM" {
		t.Error(err)
	}
}

// talker is a mechanism that leaves no challenge without an answer.
type talker struct{ core.Mechanism }

func (m talker) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	a, initial, err := m.Mechanism.Start(ctx, peer)
	return talking{a}, initial, err
}

type talking struct{ core.Authentication }

func (a talking) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	response, err := a.Authentication.Next(ctx, challenge)
	if err == nil && len(response) == 0 {
		response = []byte("thanks")
	}
	return response, err
}

// What the server answers to a client's first message.
func TestServer_SCRAM_rules(t *testing.T) {
	plain := smtptest.ServerOptions{Users: map[string]string{"ann": "x"}, SCRAM: []string{"SCRAM-SHA-256"}}
	bound := smtptest.ServerOptions{Users: map[string]string{"ann": "x"}, SCRAM: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, ImplicitTLS: true}
	only := smtptest.ServerOptions{Users: map[string]string{"ann": "x"}, SCRAM: []string{"SCRAM-SHA-256-PLUS"}, ImplicitTLS: true}
	for _, tt := range []struct {
		rule       string
		options    smtptest.ServerOptions
		name, says string
		want       string // the reply
	}{
		{"an unknown user", plain, "SCRAM-SHA-256", "n,,n=eve,r=nonce", "535 5.7.8 wrong user or password"},
		{"no message of SCRAM", plain, "SCRAM-SHA-256", "hello", "501 5.5.2 that is no message of SCRAM"},
		{"an empty one", plain, "SCRAM-SHA-256", "", "501 5.5.2 that is no message of SCRAM"},
		{"m= (RFC 5802 §5.1)", plain, "SCRAM-SHA-256", "n,,m=x,n=ann,r=nonce", "501 5.5.2 that is no message of SCRAM"},
		{"'=' that stands for itself (RFC 5802 §5.1)", plain, "SCRAM-SHA-256", "n,,n=a=b,r=nonce", "535 5.7.8 invalid-username-encoding"},
		{"y where nothing is offered (RFC 5802 §6)", plain, "SCRAM-SHA-256", "y,,n=ann,r=nonce", "334"},
		{"p where nothing is offered (RFC 5802 §6)", plain, "SCRAM-SHA-256", "p=tls-exporter,,n=ann,r=nonce", "535 5.7.8 channel-binding-not-supported"},
		{"n where it is offered (RFC 5802 §6)", bound, "SCRAM-SHA-256", "n,,n=ann,r=nonce", "334"},
		{"y where it is offered (RFC 5802 §6)", bound, "SCRAM-SHA-256", "y,,n=ann,r=nonce", "535 5.7.8 server-does-support-channel-binding"},
		{"p with the name without -PLUS", bound, "SCRAM-SHA-256", "p=tls-exporter,,n=ann,r=nonce", "535 5.7.8 channel-binding-not-supported"},
		{"n with -PLUS", only, "SCRAM-SHA-256-PLUS", "n,,n=ann,r=nonce", "535 5.7.8 server-does-support-channel-binding"},
		{"y with -PLUS", only, "SCRAM-SHA-256-PLUS", "y,,n=ann,r=nonce", "535 5.7.8 server-does-support-channel-binding"},
		{"p=tls-unique", only, "SCRAM-SHA-256-PLUS", "p=tls-unique,,n=ann,r=nonce", "535 5.7.8 unsupported-channel-binding-type"},
		{"p=tls-exporter", only, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=ann,r=nonce", "334"},
		{"p=tls-server-end-point", only, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=ann,r=nonce", "334"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s, err := core.Dial(t.Context(), smtptest.NewServer(t, tt.options).Config())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			goOn := errors.New("334")
			err = s.Auth(t.Context(), mechanisms.Func(tt.name, func(_ context.Context, challenge []byte) ([]byte, error) {
				if challenge != nil {
					return nil, goOn
				}
				return []byte(tt.says), nil
			}))
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Reply.String() != tt.want && !(tt.want == "334" && errors.Is(err, goOn)) {
				t.Errorf("%s: %v, want %s", tt.says, err, tt.want)
			}
		})
	}
}

// RFC 5929 §4.1: Ed25519 names no hash function, so there is tls-exporter alone.
func TestServer_SCRAM_withACertificateOfEd25519(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"server.example"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server := smtptest.NewServer(t, smtptest.ServerOptions{
		ImplicitTLS: true, Remote: true, TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}},
		Users: map[string]string{"ann": "correct horse"}, SCRAM: []string{"SCRAM-SHA-256-PLUS"},
	})
	for binding, ok := range map[mechanisms.Binding]bool{mechanisms.BestBinding: true, mechanisms.TLSExporter: true, mechanisms.TLSServerEndPoint: false} {
		client := clientOf(t, server, func(c *core.Config) {
			c.TLS = &tls.Config{RootCAs: roots}
			c.Auth = []core.Mechanism{mechanisms.SCRAM{Plus: true, Binding: binding}.Mechanism("ann", "correct horse")}
		})
		_, err := client.Send(t.Context(), message("bob@example.net"))
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "signed by Ed25519") {
			t.Errorf("%v: %v", binding, err)
		}
	}
}

func TestServer_SCRAM_options(t *testing.T) {
	users := map[string]string{"ann": "x"}
	own, _ := smtptest.NewCertificate(t, "x.example")
	two := own.Clone()
	two.Certificates = append(two.Certificates, two.Certificates[0])
	asked := own.Clone()
	asked.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own.Certificates[0], nil }
	plus := []string{"SCRAM-SHA-256-PLUS"}
	for _, tt := range []struct {
		want    string
		options smtptest.ServerOptions
	}{
		{"SCRAM is set without Users", smtptest.ServerOptions{SCRAM: []string{"SCRAM-SHA-256"}}},
		{`SCRAM has "SCRAM-MD5"`, smtptest.ServerOptions{Users: users, SCRAM: []string{"SCRAM-MD5"}}},
		{"has SCRAM-SHA-1 twice", smtptest.ServerOptions{Users: users, SCRAM: []string{"SCRAM-SHA-1", "SCRAM-SHA-1"}}},
		{"has SCRAM-SHA-1 twice", smtptest.ServerOptions{Users: users, SCRAM: []string{"SCRAM-SHA-1"}, Mechanisms: map[string]smtptest.AuthFunc{"SCRAM-SHA-1": ticket}}},
		{"has SCRAM-SHA-256-PLUS without StartTLS or ImplicitTLS", smtptest.ServerOptions{Users: users, SCRAM: plus}},
		{"TLS needs one certificate", smtptest.ServerOptions{Users: users, SCRAM: plus, StartTLS: true, TLS: two}},
		{"TLS needs one certificate", smtptest.ServerOptions{Users: users, SCRAM: plus, StartTLS: true, TLS: asked}},
	} {
		if _, err := smtptest.StartServer(tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
}

func TestServer_SCRAM_isAnnounced(t *testing.T) {
	users, mechanism := map[string]string{"ann": "x"}, map[string]smtptest.AuthFunc{"X-TICKET": ticket}
	for want, options := range map[string]smtptest.ServerOptions{
		"PLAIN": {Users: users},
		"X-TICKET SCRAM-SHA-512 SCRAM-SHA-1 PLAIN": {Users: users, Mechanisms: mechanism, SCRAM: []string{"SCRAM-SHA-512", "SCRAM-SHA-1"}},
	} {
		s, err := core.Dial(t.Context(), smtptest.NewServer(t, options).Config())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Peer().Extensions.Mechanisms(), " "); got != want {
			t.Errorf("announced: %s, want %s", got, want)
		}
		_ = s.Close()
	}
}

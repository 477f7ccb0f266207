package mechanisms_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
)

// The certificate in TLS is the credential: EXTERNAL says that the server is to
// take it for one. It is read again when it is renewed.
func ExampleExternal() {
	certificate, err := core.LoadClientCertificate("client.pem", "client.key", func(err error) { log.Print(err) })
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewClient(core.Config{
		Endpoint:   "smtps://mail.example.com",
		Transports: transport.Standard(),
		TLS:        &tls.Config{GetClientCertificate: certificate},
		Auth:       []core.Mechanism{mechanisms.External("")},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
}

func TestExternal(t *testing.T) {
	for _, tt := range []struct {
		rule, identity, dialogue string
		refused                  bool
	}{
		{"E6 RFC 4422 §A.1 an empty identity is an empty initial response", "", "C: AUTH EXTERNAL =\nS: 235 ok", false},
		{"RFC 4422 §A.2 an identity", "fred@example.com", "C: AUTH EXTERNAL ZnJlZEBleGFtcGxlLmNvbQ==\nS: 235 ok", false},
		{"a refusal", "fred@example.com", "C: AUTH EXTERNAL ZnJlZEBleGFtcGxlLmNvbQ==\nS: 535 no", true},
		{"a challenge is not answered", "", "C: AUTH EXTERNAL =\nS: 334\nC: *\nS: 501 ok", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.External(tt.identity)
			for range 2 { // it can be used again
				if err := auth(t, m, tt.dialogue); (err != nil) != tt.refused {
					t.Error(err)
				}
			}
		})
	}
	for _, identity := range []string{"a\x00b", "\xff"} {
		if a, _, err := mechanisms.External(identity).Start(t.Context(), &core.Peer{}); a != nil || err == nil {
			t.Errorf("RFC 4422 §A.1: the identity %q passes", identity)
		}
	}
}

func TestExternal_suits(t *testing.T) {
	m := mechanisms.External("")
	for _, tt := range []struct {
		rule  string
		peer  core.Peer
		suits bool
	}{
		{"TLS with a client certificate", core.Peer{TLS: &tls.ConnectionState{}, ClientCertificate: true}, true},
		{"TLS without one", core.Peer{TLS: &tls.ConnectionState{}}, false},
		{"one whose certificate does not verify: nothing is shown to it", core.Peer{TLS: &tls.ConnectionState{}, TLSError: errors.New("bad"), ClientCertificate: true}, true},
		{"a Unix socket, whose other end knows the user", core.Peer{Local: true}, true},
		{"no server in clear text", core.Peer{}, false},
	} {
		if err := m.(core.PeerChecker).CheckPeer(&tt.peer); (err == nil) != tt.suits {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
	if !m.(core.SecretKeeper).KeepsSecret() {
		t.Error("it shows no secret")
	}
	if got := fmt.Sprintf("%v %+v %#v", m, m, m); got != "EXTERNAL EXTERNAL EXTERNAL" {
		t.Error(got)
	}
}

// Where there is no TLS the next mechanism is used.
func TestExternal_isPassedOverInClearText(t *testing.T) {
	config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH EXTERNAL CRAM-MD5", smtptest.Options{Remote: true}).Config()
	config.TLSPolicy = core.TLSOff
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Auth(t.Context(), mechanisms.External("")); err == nil || !strings.Contains(err.Error(), "client certificate") {
		t.Errorf("got %v", err)
	}
	cram := mechanisms.CRAMMD5("u", "p")
	choice, err := core.ChooseMechanism(core.Config{Auth: []core.Mechanism{mechanisms.External(""), cram}}, s.Peer())
	if err != nil || choice.Mechanism != cram {
		t.Errorf("chosen: %v, %v", choice, err)
	}
}

// The certificate is that of the TLS configuration, and SASL sends nothing of it.
func TestExternal_withAClientCertificate(t *testing.T) {
	server, client := smtptest.NewCertificate(t, "server.example")
	own, _ := smtptest.NewCertificate(t, "client.example")
	server.ClientAuth = tls.RequireAnyClientCert
	config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH EXTERNAL\nC: AUTH EXTERNAL =\nS: 235 ok",
		smtptest.Options{Remote: true, ImplicitTLS: true, TLS: server}).Config()
	config.TLS = client
	config.TLS.Certificates = own.Certificates
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Auth(t.Context(), mechanisms.External("")); err != nil {
		t.Error(err)
	}
}

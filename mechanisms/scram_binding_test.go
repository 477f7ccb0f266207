package mechanisms_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// signedBy is a session of TLS, which cannot export keys, with a certificate that
// is signed so.
func signedBy(a x509.SignatureAlgorithm) *tls.ConnectionState {
	return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("leaf"), SignatureAlgorithm: a}, {Raw: []byte("authority"), SignatureAlgorithm: x509.SHA512WithRSA}}}
}

// handshake makes a TLS connection and returns what both sides know of it.
func handshake(t *testing.T, version uint16, renegotiation tls.RenegotiationSupport) (client, server tls.ConnectionState) {
	t.Helper()
	serverConfig, clientConfig := smtptest.NewCertificate(t, "server.example")
	serverConfig.MaxVersion = version
	clientConfig.ServerName, clientConfig.Renegotiation = "server.example", renegotiation
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, serverConfig), tls.Client(b, clientConfig)
	done := make(chan error, 1)
	go func() { done <- s.HandshakeContext(t.Context()) }()
	// TLS 1.3: the server's tickets want to be read.
	go func() { _, _ = c.Read(make([]byte, 1)) }()
	if err := errors.Join(c.HandshakeContext(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}

// bound returns the type of a mechanism's binding to a session of TLS, and its
// data, as they stand in the two messages of the client.
func bound(t *testing.T, config mechanisms.SCRAM, state *tls.ConnectionState) (kind string, data string) {
	t.Helper()
	config.Plus = true
	m := mechanisms.WithNonce(config.Mechanism("u", "p"), "n")
	peer := &core.Peer{TLS: state}
	if err := m.(core.PeerChecker).CheckPeer(peer); err != nil {
		t.Fatal(err)
	}
	a, initial, err := m.Start(t.Context(), peer)
	if err != nil {
		t.Fatal(err)
	}
	response, err := a.Next(t.Context(), []byte("r=nonce,s=c2FsdA==,i=4096"))
	if err != nil {
		t.Fatal(err)
	}
	c, _, _ := strings.Cut(strings.TrimPrefix(string(response), "c="), ",")
	input, err := base64.StdEncoding.DecodeString(c)
	if err != nil {
		t.Fatal(err)
	}
	// RFC 5802 §7: cbind-input = gs2-header [cbind-data]
	header, _, _ := strings.Cut(string(initial), "n=u")
	data, ok := strings.CutPrefix(string(input), header)
	if !ok || !strings.HasPrefix(header, "p=") {
		t.Fatalf("%q is not in front of %q", header, input)
	}
	return strings.TrimSuffix(header[len("p="):], ",,"), data
}

// RFC 5929 §4.1: the hash of the server's certificate.
func TestSCRAM_serverEndPoint(t *testing.T) {
	sum256, sum384, sum512 := sha256.Sum256([]byte("leaf")), sha512.Sum384([]byte("leaf")), sha512.Sum512([]byte("leaf"))
	for algorithm, want := range map[x509.SignatureAlgorithm]string{
		x509.MD5WithRSA: string(sum256[:]), x509.SHA1WithRSA: string(sum256[:]), x509.ECDSAWithSHA1: string(sum256[:]), x509.DSAWithSHA1: string(sum256[:]),
		x509.SHA256WithRSA: string(sum256[:]), x509.SHA256WithRSAPSS: string(sum256[:]), x509.ECDSAWithSHA256: string(sum256[:]), x509.DSAWithSHA256: string(sum256[:]),
		x509.SHA384WithRSA: string(sum384[:]), x509.SHA384WithRSAPSS: string(sum384[:]), x509.ECDSAWithSHA384: string(sum384[:]),
		x509.SHA512WithRSA: string(sum512[:]), x509.SHA512WithRSAPSS: string(sum512[:]), x509.ECDSAWithSHA512: string(sum512[:]),
	} {
		for _, binding := range []mechanisms.Binding{mechanisms.BestBinding, mechanisms.TLSServerEndPoint} {
			if kind, data := bound(t, mechanisms.SCRAM{Binding: binding}, signedBy(algorithm)); kind != "tls-server-end-point" || data != want {
				t.Errorf("%v, %v: %s %x, want %x", algorithm, binding, kind, data, want)
			}
		}
	}
}

// RFC 9266 §2: 32 octets for an empty context, which to TLS 1.2 is another one
// than none (RFC 5705 §4).
func TestSCRAM_exporter(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.3": tls.VersionTLS13, "TLS 1.2": tls.VersionTLS12} {
		t.Run(name, func(t *testing.T) {
			client, server := handshake(t, version, tls.RenegotiateNever)
			want, err := server.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
			if err != nil {
				t.Fatal(err)
			}
			for _, binding := range []mechanisms.Binding{mechanisms.BestBinding, mechanisms.TLSExporter} {
				if kind, data := bound(t, mechanisms.SCRAM{Binding: binding}, &client); kind != "tls-exporter" || data != string(want) {
					t.Errorf("%v: %s %x, want %x", binding, kind, data, want)
				}
			}
			leaf := sha256.Sum256(client.PeerCertificates[0].Raw) // it is signed by ECDSA with SHA-256
			if kind, data := bound(t, mechanisms.SCRAM{Binding: mechanisms.TLSServerEndPoint}, &client); kind != "tls-server-end-point" || data != string(leaf[:]) {
				t.Errorf("%s %x, want %x", kind, data, leaf)
			}
		})
	}
	t.Run("RFC 9266 §2: not where TLS may be renegotiated", func(t *testing.T) {
		client, _ := handshake(t, tls.VersionTLS12, tls.RenegotiateOnceAsClient)
		if kind, _ := bound(t, mechanisms.SCRAM{}, &client); kind != "tls-server-end-point" {
			t.Errorf("bound to %s", kind)
		}
		m := mechanisms.SCRAM{Plus: true, Binding: mechanisms.TLSExporter}.Mechanism("u", "p")
		if err := m.(core.PeerChecker).CheckPeer(&core.Peer{TLS: &client}); err == nil || !strings.Contains(err.Error(), "tls-exporter") {
			t.Error(err)
		}
	})
}

func TestSCRAM_passesOverServersThatItCannotBindTo(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		binding mechanisms.Binding
		state   *tls.ConnectionState
		kind    error
		says    string
	}{
		{"no TLS", mechanisms.BestBinding, nil, core.ErrTLSRequired, "nothing to bind to"},
		{"a signature by Ed25519 names no hash (RFC 5929 §4.1)", mechanisms.TLSServerEndPoint, signedBy(x509.PureEd25519), nil, "signed by Ed25519"},
		{"an unknown signature", mechanisms.TLSServerEndPoint, signedBy(0), nil, "names no hash"},
		{"no certificate", mechanisms.TLSServerEndPoint, &tls.ConnectionState{}, nil, "no certificate"},
		{"no keys", mechanisms.TLSExporter, signedBy(x509.SHA256WithRSA), nil, "tls-exporter cannot be used"},
		{"neither", mechanisms.BestBinding, signedBy(x509.PureEd25519), nil, "signed by Ed25519"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.SCRAM{Plus: true, Binding: tt.binding}.Mechanism("u", "p")
			peer := &core.Peer{TLS: tt.state}
			_, initial, err := m.Start(t.Context(), peer)
			for _, err := range []error{m.(core.PeerChecker).CheckPeer(peer), err} {
				if err == nil || initial != nil || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %q, %v, want an error with %q", initial, err, tt.says)
				}
			}
			if err := mechanisms.SCRAMSHA256("u", "p").(core.PeerChecker).CheckPeer(peer); err != nil {
				t.Errorf("without -PLUS: %v", err)
			}
		})
	}
}

// RFC 5802 §6: what a client says of channel binding.
func TestSCRAM_flag(t *testing.T) {
	const both = "SCRAM-SHA-256 SCRAM-SHA-256-PLUS"
	for _, tt := range []struct {
		rule   string
		config mechanisms.SCRAM
		offers string
		state  *tls.ConnectionState
		want   string
	}{
		{"n without TLS", mechanisms.SCRAM{}, "SCRAM-SHA-256", nil, "n,,"},
		{"y if it could, and the server does not offer it", mechanisms.SCRAM{}, "SCRAM-SHA-256", signedBy(x509.SHA256WithRSA), "y,,"},
		{"y if the server offers it for another hash alone", mechanisms.SCRAM{}, "SCRAM-SHA-256 SCRAM-SHA-1-PLUS", signedBy(x509.SHA256WithRSA), "y,,"},
		{"n if it could not", mechanisms.SCRAM{}, "SCRAM-SHA-256", signedBy(x509.PureEd25519), "n,,"},
		{"n if it could not in the way that is configured", mechanisms.SCRAM{Binding: mechanisms.TLSExporter}, "SCRAM-SHA-256", signedBy(x509.SHA256WithRSA), "n,,"},
		{"n if the server offers it, and the mechanism without it was configured", mechanisms.SCRAM{}, both, signedBy(x509.SHA256WithRSA), "n,,"},
		{"also in lower case", mechanisms.SCRAM{}, strings.ToLower(both), signedBy(x509.SHA256WithRSA), "n,,"},
		{"p with -PLUS", mechanisms.SCRAM{Plus: true}, both, signedBy(x509.SHA256WithRSA), "p=tls-server-end-point,,"},
		{"and with the user to act as", mechanisms.SCRAM{Plus: true, Identity: "x"}, both, signedBy(x509.SHA256WithRSA), "p=tls-server-end-point,a=x,"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s, err := core.Dial(t.Context(), smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250 AUTH "+tt.offers, smtptest.Options{}).Config())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			peer := *s.Peer()
			peer.TLS = tt.state
			_, initial, err := tt.config.Mechanism("u", "p").Start(t.Context(), &peer)
			if got, _, _ := strings.Cut(string(initial), "n=u"); err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", initial, err, tt.want)
			}
		})
	}
}

func TestSCRAM_bindingsHaveTheirRegisteredNames(t *testing.T) {
	for b, want := range map[mechanisms.Binding]string{mechanisms.TLSExporter: "tls-exporter", mechanisms.TLSServerEndPoint: "tls-server-end-point", mechanisms.BestBinding: "best", 9: "Binding(9)"} {
		if got := b.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

package core_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// tlsKinds are the two ways to TLS, on real sockets, to a server that is not on
// this machine as far as the client knows.
var tlsKinds = map[string]smtptest.ServerOptions{
	"STARTTLS":     {Remote: true, StartTLS: true},
	"implicit TLS": {Remote: true, ImplicitTLS: true},
}

// tryTLS sends a message to a server with this configuration.
func tryTLS(t *testing.T, options smtptest.ServerOptions, server *tls.Config, change func(*core.Config)) (*smtptest.Server, *core.Receipt, error) {
	t.Helper()
	options.TLS = server
	s := smtptest.NewServer(t, options)
	config := s.Config()
	if change != nil {
		change(&config)
	}
	c, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	receipt, err := c.Send(t.Context(), message("b@example.com"))
	return s, receipt, err
}

// trust has a client trust these authorities.
func trust(pool *x509.CertPool) func(*core.Config) {
	return func(c *core.Config) { c.TLS = &tls.Config{RootCAs: pool} }
}

// pin has a client accept this certificate alone.
func pin(t *testing.T, pins core.Pins) func(*core.Config) {
	t.Helper()
	config, err := core.PinnedTLS(nil, pins)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *core.Config) { c.TLS = config }
}

// A certificate that does not verify is refused with the reason and with what to
// do, nothing arrives, and each is accepted with the option that says so, and
// with a pin.
func TestTLS_certificates(t *testing.T) {
	ca := authority(t)
	dated := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to) }
	}
	self := issue(t, nil, nil)
	selfKey := sha256.Sum256(self.certificate.RawSubjectPublicKeyInfo)
	for _, tt := range []struct {
		rule        string
		certificate *certified
		client      func(*core.Config)
		reason      string // "" if it is accepted
		hint        string
	}{
		{"one that verifies", issue(t, ca, nil), trust(ca.pool()), "", ""},

		{"another host", issue(t, ca, func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }), trust(ca.pool()),
			"certificate is valid for other.example, not server.example", "check the host name in the URL"},
		{"another host that is named", issue(t, ca, func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }),
			func(c *core.Config) { c.TLS = &tls.Config{RootCAs: ca.pool(), ServerName: "other.example"} }, "", ""},
		{"another host that the URL names", issue(t, ca, func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }),
			func(c *core.Config) {
				trust(ca.pool())(c)
				c.Transports[0] = calledOther{c.Transports[0], "other.example"}
			}, "", ""},
		{"the host in the common name only", issue(t, ca, func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "server.example" }), trust(ca.pool()),
			"legacy Common Name field", "name the server as its certificate does"},

		{"an expired one", issue(t, ca, dated(-2*time.Hour, -time.Hour)), trust(ca.pool()), "certificate has expired or is not yet valid", "out of date"},
		{"an expired one at a time when it was not", issue(t, ca, dated(-40*time.Minute, -20*time.Minute)), func(c *core.Config) {
			c.TLS = &tls.Config{RootCAs: ca.pool(), Time: func() time.Time { return time.Now().Add(-30 * time.Minute) }}
		}, "", ""},
		{"one that is not valid yet", issue(t, ca, dated(30*time.Minute, time.Hour)), trust(ca.pool()), "certificate has expired or is not yet valid", "clock"},

		{"a self-signed one", self, nil, "certificate signed by unknown authority", "self-signed"},
		{"a self-signed one that is trusted", self, trust(self.pool()), "", ""},
		{"a self-signed one whose key is pinned", self, pin(t, core.Pins{PublicKeys: []string{base64.StdEncoding.EncodeToString(selfKey[:])}}), "", ""},

		{"an unknown authority", issue(t, ca, nil), nil, "certificate signed by unknown authority", "add the authority to Config.TLS.RootCAs"},
		{"another authority", issue(t, ca, nil), trust(authority(t).pool()), "certificate signed by unknown authority", "add the authority"},
		{"one that is for clients alone", issue(t, ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), trust(ca.pool()), "incompatible key usage", "add the authority"},
		{"an issuer that is no authority", issue(t, issue(t, nil, nil), nil), nil, "certificate signed by unknown authority", "add the authority"},
	} {
		for kind, options := range tlsKinds {
			t.Run(tt.rule+", "+kind, func(t *testing.T) {
				server, receipt, err := tryTLS(t, options, tt.certificate.server(), tt.client)
				accepts(t, server, receipt, err, tt.reason, tt.hint)
				hash := fmt.Sprintf("%x", sha256.Sum256(tt.certificate.certificate.Raw))
				server, receipt, err = tryTLS(t, options, tt.certificate.server(), pin(t, core.Pins{Certificates: []string{hash}}))
				accepts(t, server, receipt, err, "", "")
			})
		}
	}
}

// accepts checks that a message has arrived over TLS, or else the reason.
func accepts(t *testing.T, server *smtptest.Server, receipt *core.Receipt, err error, reason, hint string) {
	t.Helper()
	if reason == "" {
		if err != nil || receipt.Peer.TLS == nil || receipt.Peer.TLSError != nil || len(server.Messages()) != 1 {
			t.Errorf("error %v, peer %+v, %d messages", err, receipt.Peer, len(server.Messages()))
		}
		return
	}
	e := hasError(t, err, core.StageTLS, core.Permanent, nil)
	if !strings.Contains(err.Error(), reason) || !strings.Contains(e.Hint, hint) {
		t.Errorf("error %q, want %q and %q", err, reason, hint)
	}
	if n := len(server.Messages()); n != 0 {
		t.Errorf("%d messages have arrived", n)
	}
}

// calledOther is a transport whose URL names another server.
type calledOther struct {
	core.Transport
	name string
}

func (n calledOther) Endpoint(u *url.URL) (core.Endpoint, error) {
	e, err := n.Transport.Endpoint(u)
	e.ServerName = n.name
	return e, err
}

// What the server shows is not the pinned certificate.
func TestPinnedTLS_refuses(t *testing.T) {
	ca := authority(t)
	shown, other := issue(t, ca, nil), issue(t, ca, nil)
	hash := sha256.Sum256(other.certificate.Raw)
	text := fmt.Sprintf("%X", hash)
	for kind, options := range tlsKinds {
		for _, policy := range []core.TLSPolicy{core.TLSDefault, core.TLSOpportunistic} {
			config, err := core.PinnedTLS(&tls.Config{RootCAs: ca.pool()}, core.Pins{Certificates: []string{text}, PublicKeys: []string{text}})
			if err != nil {
				t.Fatal(err)
			}
			server, receipt, err := tryTLS(t, options, shown.server(), func(c *core.Config) { c.TLS, c.TLSPolicy = config, policy })
			accepts(t, server, receipt, err, "is not a pinned one", "before you pin that")
			if e, ok := errors.AsType[*core.PinError](err); !ok || e.Certificate != sha256.Sum256(shown.certificate.Raw) || e.PublicKey != sha256.Sum256(shown.certificate.RawSubjectPublicKeyInfo) {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

func TestPinnedTLS_forms(t *testing.T) {
	self := issue(t, nil, nil)
	hash := sha256.Sum256(self.certificate.Raw)
	var pairs []string
	for _, octet := range hash {
		pairs = append(pairs, fmt.Sprintf("%02X", octet))
	}
	base64 := base64.StdEncoding.EncodeToString(hash[:])
	for _, text := range []string{fmt.Sprintf("%x", hash), fmt.Sprintf("%X", hash), strings.Join(pairs, ":"), base64, "sha256/" + base64, "sha256//" + base64, " " + base64 + "\n"} {
		server, receipt, err := tryTLS(t, tlsKinds["implicit TLS"], self.server(), pin(t, core.Pins{Certificates: []string{"sha256/" + strings.Repeat("A", 43) + "=", text}}))
		accepts(t, server, receipt, err, "", "")
	}
	// In base64 it begins with a slash.
	const slash = "/iUNKGrSw8Lj66N/mjBQEF8i+hTFwQTX2EF7+GPqEFo="
	if _, err := core.PinnedTLS(nil, core.Pins{Certificates: []string{slash, "sha256/" + slash, "sha256//" + slash}}); err != nil {
		t.Error(err)
	}
	for says, pins := range map[string]core.Pins{
		"no certificate is pinned":       {},
		`pinned certificate "abcd" is`:   {Certificates: []string{"abcd"}},
		`pinned certificate "" is`:       {Certificates: []string{fmt.Sprintf("%x", hash), ""}},
		`pinned public key "sha1/AA" is`: {PublicKeys: []string{"sha1/AA"}},
	} {
		if config, err := core.PinnedTLS(nil, pins); config != nil || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

// The base is left alone, and what it says besides holds.
func TestPinnedTLS_base(t *testing.T) {
	self := issue(t, nil, nil)
	hash := fmt.Sprintf("%x", sha256.Sum256(self.certificate.Raw))
	mine := errors.New("mine")
	base := &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return mine }}
	config, err := core.PinnedTLS(base, core.Pins{Certificates: []string{hash}})
	if err != nil || base.InsecureSkipVerify {
		t.Fatal(err)
	}
	_, _, err = tryTLS(t, tlsKinds["STARTTLS"], self.server(), func(c *core.Config) { c.TLS = config })
	if !errors.Is(err, mine) {
		t.Errorf("error %v", err)
	}
}

func TestLoadAuthorities(t *testing.T) {
	ca, second := authority(t), authority(t)
	folder := t.TempDir()
	write := func(name string, content ...[]byte) string {
		path := filepath.Join(folder, name)
		var all []byte
		for _, c := range content {
			all = append(all, c...)
		}
		replaceFile(t, path, all)
		return path
	}
	whole := write("ca.pem", []byte("the company's\n"), ca.certificatePEM())
	pool, err := core.LoadAuthorities(write("two.pem", second.certificatePEM(), []byte("\nand\n"), ca.certificatePEM(), []byte("\nend\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*certified{issue(t, ca, nil), issue(t, second, nil)} {
		server, receipt, err := tryTLS(t, tlsKinds["STARTTLS"], c.server(), trust(pool))
		accepts(t, server, receipt, err, "", "")
	}
	server, receipt, err := tryTLS(t, tlsKinds["STARTTLS"], issue(t, authority(t), nil).server(), trust(pool))
	accepts(t, server, receipt, err, "unknown authority", "")

	for says, files := range map[string][]string{
		"no file":                         nil,
		"no such file":                    {whole, filepath.Join(folder, "missing.pem")},
		"no certificate in PEM":           {whole, write("empty.pem")},
		`a block "PRIVATE KEY"`:           {write("key.pem", ca.certificatePEM(), ca.keyPEM(t))},
		"what follows certificate 1 is b": {write("cut.pem", ca.certificatePEM(), ca.certificatePEM()[:200])},
		"certificate 2":                   {write("bad.pem", ca.certificatePEM(), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))},
	} {
		if pool, err := core.LoadAuthorities(files...); pool != nil || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

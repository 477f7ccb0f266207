package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core/smtptest"
)

// certificate makes one for hosts that is its own authority, and returns it and
// the file with it.
func certificate(t *testing.T, hosts ...string) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	name := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, name
}

func TestTLS_policies(t *testing.T) {
	good, ca := certificate(t, "127.0.0.1")
	other, _ := certificate(t, "other.example")
	for rule, tt := range map[string]struct {
		options  smtptest.ServerOptions
		more     []string
		status   int
		tls      bool
		verified bool
		says     string
	}{
		"on loopback TLS is used if offered":            {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-ca", ca}, 0, true, true, ""},
		"on loopback a bad certificate is reported":     {smtptest.ServerOptions{StartTLS: true, TLS: other}, []string{"-ca", ca}, 0, true, false, ""},
		"on loopback no TLS will do":                    {smtptest.ServerOptions{}, nil, 0, false, false, ""},
		"opportunistic reports a bad certificate":       {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-tls", "opportunistic"}, 0, true, false, ""},
		"off uses none":                                 {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-tls", "off"}, 0, false, false, ""},
		"required verifies":                             {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-tls", "required", "-ca", ca}, 0, true, true, ""},
		"69 required, and a bad name":                   {smtptest.ServerOptions{StartTLS: true, TLS: other}, []string{"-tls", "required", "-ca", ca}, 69, false, false, ""},
		"69 required, and an unknown authority":         {smtptest.ServerOptions{StartTLS: true, TLS: good}, []string{"-tls", "required"}, 69, false, false, "-ca FILE"},
		"69 required, and not offered":                  {smtptest.ServerOptions{}, []string{"-tls", "required"}, 69, false, false, "TLS is required"},
		"smtps verifies":                                {smtptest.ServerOptions{ImplicitTLS: true, TLS: good}, []string{"-ca", ca}, 0, true, true, ""},
		"69 smtps verifies, also where others need not": {smtptest.ServerOptions{ImplicitTLS: true, TLS: good}, []string{"-tls", "opportunistic"}, 69, false, false, "-ca FILE"},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, tt.options)
			r := mailer(t, to(s.URL(), append(tt.more, file(t, mail))...)...)
			r.ends(t, tt.status, tt.says)
			got := r.one(t)
			if (got.TLS != nil) != tt.tls || got.TLS != nil && (got.TLS.Verified != tt.verified || got.TLS.Version != "TLS 1.3" || !strings.HasPrefix(got.TLS.Cipher, "TLS_")) {
				t.Errorf("got %s", r.stdout)
			}
			if tt.status == 69 && (got.Error.Stage != "tls" || got.Error.Class != "permanent" || got.Recipients[0].Outcome != "refused") {
				t.Errorf("got %s", r.stdout)
			}
			if strings.Contains(r.stderr, "Config.") {
				t.Errorf("an error for programmers: %s", r.stderr)
			}
		})
	}
}

// People are told of a certificate that is bad.
func TestTLS_badCertificateForPeople(t *testing.T) {
	good, _ := certificate(t, "127.0.0.1")
	s := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, TLS: good})
	r := mailer(t, "send", "-url", s.URL(), "-from", "me@example.com", "-to", "you@example.net", file(t, mail))
	r.ends(t, 0)
	if !strings.Contains(r.stdout, "certificate not verified (x509: ") {
		t.Errorf("got %s", r.stdout)
	}
}

// A server that says 220 to STARTTLS and then does no handshake.
func TestTLS_75HandshakeThatFails(t *testing.T) {
	address := script(t, hello+"S: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nCLOSE", smtptest.Options{})
	r := mailer(t, to("smtp://"+address, file(t, mail))...)
	r.ends(t, 75)
	if got := r.one(t); got.Error.Stage != "tls" || got.Recipients[0].Outcome != "deferred" {
		t.Errorf("got %s", r.stdout)
	}
}

// A client certificate is shown, and EXTERNAL is told whom to act as.
func TestTLS_clientCertificate(t *testing.T) {
	server, ca := certificate(t, "127.0.0.1")
	mine, name := certificate(t, "me.example")
	key, err := x509.MarshalPKCS8PrivateKey(mine.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	server.ClientAuth = tls.RequireAnyClientCert
	s := smtptest.NewServer(t, smtptest.ServerOptions{ImplicitTLS: true, TLS: server, Mechanisms: map[string]smtptest.AuthFunc{"EXTERNAL": trace}})
	keyFile := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	r := mailer(t, to(s.URL(), "-ca", ca, "-cert", name, "-key", keyFile, "-mech", "external", "-user", "me", file(t, mail))...)
	r.ends(t, 0)
	if m := s.Messages()[0]; m.User != "me" || len(m.TLS.PeerCertificates) != 1 {
		t.Errorf("got %+v", m.Envelope)
	}
}

package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"
)

// NewCertificate makes a certificate for the hosts, names or IP addresses, and
// returns it as a server's TLS configuration, and the authority that signed it
// as a client's. It is valid for a day around now. In a bubble of
// testing/synctest now is the bubble's: make it there, or nothing verifies.
func NewCertificate(t testing.TB, hosts ...string) (server *tls.Config, client *tls.Config) {
	t.Helper()
	server, client, err := newCertificate(hosts)
	if err != nil {
		t.Fatal("smtptest.NewCertificate: ", err)
	}
	return server, client
}

func newCertificate(hosts []string) (server *tls.Config, client *tls.Config, err error) {
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smtptest authority"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "smtptest server"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, h)
		}
	}
	caKey, caDER, err := sign(ca, ca, nil)
	if err != nil {
		return nil, nil, err
	}
	key, der, err := sign(leaf, ca, caKey)
	if err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return server, &tls.Config{RootCAs: roots}, nil
}

// sign makes a key for the certificate and signs it with the parent's, or with
// its own if there is none.
func sign(certificate, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, &key.PublicKey, parentKey)
	return key, der, err
}

package dkim_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
)

// public is a signer with a public key and nothing else.
type public struct {
	crypto.Signer
	key crypto.PublicKey
}

func (p public) Public() crypto.PublicKey { return p.key }

func TestWhatNewRefuses(t *testing.T) {
	short := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 511), E: 65537}
	for _, tt := range []struct {
		rule   string
		change func(*dkim.Signature)
		says   string // "": it is accepted
	}{
		{"nothing but what is required is accepted", func(*dkim.Signature) {}, ""},
		{"no domain", func(s *dkim.Signature) { s.Domain = "" }, "Domain is empty"},
		{"no selector", func(s *dkim.Signature) { s.Selector = "" }, "Selector is empty"},
		{"no key", func(s *dkim.Signature) { s.Signer = nil }, "Signer is nil"},
		{"a selector of two labels is accepted", func(s *dkim.Signature) { s.Selector = "2024.news" }, ""},
		{"a domain that ends a tag", func(s *dkim.Signature) { s.Domain = "example.com; l=0" }, "Domain"},
		{"a domain that ends the line", func(s *dkim.Signature) { s.Domain = "example.com\r\nBcc: x@y" }, "Domain"},
		{"a domain that is not ASCII", func(s *dkim.Signature) { s.Domain = "müller.example" }, "xn--"},
		{"a domain with an empty label", func(s *dkim.Signature) { s.Domain = "example..com" }, "label"},
		{"a domain that is too long", func(s *dkim.Signature) { s.Domain = strings.Repeat("a.", 127) }, "253"},
		{"a selector with a space", func(s *dkim.Signature) { s.Selector = "a b" }, "Selector"},
		{"an identity within the domain is accepted", func(s *dkim.Signature) { s.Identity = "@mail.Example.com" }, ""},
		{"an identity elsewhere", func(s *dkim.Signature) { s.Identity = "me@badexample.com" }, "not within"},
		{"an identity without @", func(s *dkim.Signature) { s.Identity = "example.com" }, "no @"},
		{"an identity that ends a tag", func(s *dkim.Signature) { s.Identity = "a;b@example.com" }, "local part"},
		{"an identity with a bad domain", func(s *dkim.Signature) { s.Identity = "a@b c.example.com" }, "a domain"},
		{"a short RSA key", func(s *dkim.Signature) { s.Signer = public{key: short} }, "512 bits"},
		{"a key of another kind", func(s *dkim.Signature) { s.Signer = public{key: &ecdsa.PublicKey{}} }, "RSA and Ed25519"},
		{"a field's name with a colon", func(s *dkim.Signature) { s.HeaderKeys = []string{"To:"} }, "HeaderKeys"},
		{"a field's name that ends a tag", func(s *dkim.Signature) { s.HeaderKeys = []string{"To; l=0"} }, "HeaderKeys"},
		{"an empty field's name", func(s *dkim.Signature) { s.OverSign = []string{""} }, "OverSign"},
		{"signing signatures", func(s *dkim.Signature) { s.HeaderKeys = []string{"dkim-signature"} }, "do not sign each other"},
		{"a canonicalization that does not exist", func(s *dkim.Signature) { s.BodyCanonicalization = 7 }, "BodyCanonicalization"},
		{"a header canonicalization that does not exist", func(s *dkim.Signature) { s.HeaderCanonicalization = 7 }, "HeaderCanonicalization"},
		{"an expiration in the past", func(s *dkim.Signature) { s.Expiration = -time.Hour }, "Expiration"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := rsaSignature()
			tt.change(&s)
			i, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{s}})
			if tt.says == "" {
				if err != nil || i.Name != "dkim" || i.Content == nil || !i.Signs {
					t.Errorf("got %+v, %v", i, err)
				}
				return
			}
			refused(t, err, tt.says)
		})
	}
	_, err := dkim.New(dkim.Config{})
	refused(t, err, "Signatures is empty")
	_, err = dkim.New(dkim.Config{Signatures: []dkim.Signature{rsaSignature(), rsaSignature()}})
	refused(t, err, "signed for already")
}

func refused(t *testing.T, err error, says string) {
	t.Helper()
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Stage != core.StageConfig || !strings.Contains(e.Error(), says) {
		t.Errorf("got %v, want an error of the configuration that says %q", err, says)
	}
}

func TestParsePEM(t *testing.T) {
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	k := keys()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.rsa))
	for _, tt := range []struct {
		rule, pem string
		key       crypto.Signer
		says      string
	}{
		{"RSA in PKCS #1", pkcs1, k.rsa, ""},
		{"RSA in PKCS #8", block("PRIVATE KEY", pkcs8(k.rsa)), k.rsa, ""},
		{"Ed25519 in PKCS #8", block("PRIVATE KEY", pkcs8(k.ed)), k.ed, ""},
		{"the first private key counts", "a comment\n" + block("PUBLIC KEY", nil) + pkcs1 + block("PRIVATE KEY", pkcs8(k.ed)), k.rsa, ""},
		{"ECDSA in PKCS #8", block("PRIVATE KEY", pkcs8(ec)), nil, "RSA and Ed25519"},
		{"ECDSA", block("EC PRIVATE KEY", nil), nil, "RSA and Ed25519"},
		{"an encrypted key", block("ENCRYPTED PRIVATE KEY", nil), nil, "encrypted"},
		{"one encrypted in the old way", strings.Replace(pkcs1, "\n", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), nil, "encrypted"},
		{"a key of OpenSSH", block("OPENSSH PRIVATE KEY", nil), nil, "OpenSSH"},
		{"the public key", block("PUBLIC KEY", nil) + block("CERTIFICATE", nil), nil, "only PUBLIC KEY, CERTIFICATE"},
		{"a damaged PKCS #1 key", block("RSA PRIVATE KEY", []byte("x")), nil, "RSA PRIVATE KEY"},
		{"a damaged PKCS #8 key", block("PRIVATE KEY", []byte("x")), nil, "PRIVATE KEY"},
		{"no PEM", "secret", nil, "-----BEGIN"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			if err := os.WriteFile(path, []byte(tt.pem), 0o600); err != nil {
				t.Fatal(err)
			}
			key, err := dkim.LoadKey(path)
			if tt.key != nil {
				if equal, ok := tt.key.(interface{ Equal(crypto.PrivateKey) bool }); err != nil || !ok || !equal.Equal(key) {
					t.Errorf("got %T and %v, want the key", key, err)
				}
				return
			}
			if key != nil || err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %T and %v, want an error that says %q and names the file", key, err, tt.says)
			}
		})
	}
	if _, err := dkim.LoadKey("/does/not/exist"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestRecordRefusesOtherKeys(t *testing.T) {
	if _, err := dkim.Record(&ecdsa.PublicKey{}); err == nil {
		t.Error("there is no record for ECDSA")
	}
}

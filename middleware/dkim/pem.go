package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

// LoadKey reads a private key from a file; see [ParsePEM].
func LoadKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("dkim: reading a key: %w", err)
	}
	key, err := ParsePEM(data)
	if err != nil {
		return nil, fmt.Errorf("%w: in %s", err, path)
	}
	return key, nil
}

// ParsePEM returns the first private key in PEM data: RSA in PKCS #1 or PKCS #8
// ("RSA PRIVATE KEY", "PRIVATE KEY"), or Ed25519 in PKCS #8. That is what
//
//	openssl genrsa 2048
//	openssl genpkey -algorithm ed25519
//
// write. The error says what was found instead; it never holds anything of it.
func ParsePEM(data []byte) (crypto.Signer, error) {
	var found []string
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			block.Type = "ENCRYPTED PRIVATE KEY"
		}
		switch block.Type {
		case "RSA PRIVATE KEY":
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("dkim: RSA PRIVATE KEY: %w", err)
			}
			return checked(key)
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("dkim: PRIVATE KEY: %w", err)
			}
			signer, ok := key.(crypto.Signer)
			if !ok {
				return nil, fmt.Errorf("dkim: a key of type %T: DKIM knows RSA and Ed25519", key)
			}
			return checked(signer)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("dkim: the key is encrypted: decrypt it with openssl pkey")
		case "OPENSSH PRIVATE KEY":
			return nil, errors.New("dkim: the key is one of OpenSSH: make one with openssl genrsa 2048, or openssl genpkey -algorithm ed25519")
		case "EC PRIVATE KEY":
			return nil, errors.New("dkim: the key is an ECDSA one: DKIM knows RSA and Ed25519")
		}
		found = append(found, block.Type)
	}
	if len(found) > 0 {
		return nil, fmt.Errorf("dkim: no private key, only %s", strings.Join(found, ", "))
	}
	return nil, errors.New("dkim: no PEM data: a key begins with -----BEGIN PRIVATE KEY-----")
}

func checked(key crypto.Signer) (crypto.Signer, error) {
	if err := checkPublic(key.Public()); err != nil {
		return nil, fmt.Errorf("dkim: %w", err)
	}
	return key, nil
}

// Record returns the TXT record to publish for a key at
// SELECTOR._domainkey.DOMAIN: "v=DKIM1; k=rsa; p=...". A name server splits it
// into strings of 255 octets at most.
func Record(public crypto.PublicKey) (string, error) {
	if err := checkPublic(public); err != nil {
		return "", fmt.Errorf("dkim: %w", err)
	}
	if key, ok := public.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key), nil // RFC 8463 §4
	}
	der, err := x509.MarshalPKIXPublicKey(public.(*rsa.PublicKey))
	if err != nil {
		return "", fmt.Errorf("dkim: %w", err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

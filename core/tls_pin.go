package core

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Pins are the certificates that a server may show, each by a SHA-256 in
// hexadecimal, with or without colons, or in base64, with or without "sha256/"
// or "sha256//" in front. A certificate that matches one of them will do.
type Pins struct {
	// Certificates are hashes of whole certificates (DER), whose digits are
	// printed by
	//
	//	openssl x509 -in FILE -noout -fingerprint -sha256
	//
	// A renewed certificate has another one.
	Certificates []string
	// PublicKeys are hashes of the SubjectPublicKeyInfo (RFC 7469 §2.4), whose
	// digits are printed by
	//
	//	openssl x509 -in FILE -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum
	//
	// A certificate that is renewed with the same key has the same one.
	PublicKeys []string
}

// PinnedTLS returns a copy of base, nil meaning an empty one, whose handshakes
// accept a server that shows one of the pinned certificates and has its private
// key, and no other. Nothing else about the certificate is checked: not its
// authority, not its name, not its dates. So it works with a certificate that
// nobody vouches for, and with one that has expired.
//
// With [TLSOpportunistic] too, another certificate ends the session, with a
// [*PinError]. A VerifyConnection in base is called as well, after the pins. The
// error says which pin cannot be read.
func PinnedTLS(base *tls.Config, pins Pins) (*tls.Config, error) {
	certificates, err := readPins("certificate", pins.Certificates)
	if err != nil {
		return nil, err
	}
	keys, err := readPins("public key", pins.PublicKeys)
	if err != nil {
		return nil, err
	}
	if len(certificates)+len(keys) == 0 {
		return nil, errors.New("no certificate is pinned: no server could be accepted")
	}
	config := &tls.Config{}
	if base != nil {
		config = base.Clone()
	}
	also := config.VerifyConnection
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		shown := pinOf(state.PeerCertificates[0])
		if !slices.Contains(certificates, shown.Certificate) && !slices.Contains(keys, shown.PublicKey) {
			return shown
		}
		if also != nil {
			return also(state)
		}
		return nil
	}
	return config, nil
}

// PinError is why [PinnedTLS] refused a server: its certificate is another one.
type PinError struct {
	// Certificate and PublicKey are the SHA-256 of what the server showed, in
	// the forms that [Pins] has.
	Certificate, PublicKey [sha256.Size]byte
}

// Error returns what the server showed, to be compared and, if it is right, to
// be pinned.
func (e *PinError) Error() string {
	return fmt.Sprintf("the server's certificate is not a pinned one: it has SHA-256 %x, its public key %x", e.Certificate, e.PublicKey)
}

func pinOf(c *x509.Certificate) *PinError {
	return &PinError{Certificate: sha256.Sum256(c.Raw), PublicKey: sha256.Sum256(c.RawSubjectPublicKeyInfo)}
}

// readPins reads hashes in any of the customary forms.
func readPins(kind string, list []string) ([][sha256.Size]byte, error) {
	var pins [][sha256.Size]byte
	for _, text := range list {
		hash, ok := readHash(strings.TrimSpace(text))
		if !ok {
			return nil, fmt.Errorf("pinned %s %q is no SHA-256: write its 32 octets in hexadecimal or base64", kind, text)
		}
		pins = append(pins, hash)
	}
	return pins, nil
}

// readHash reads a hash. Base64 may begin with a slash itself, so it is the
// number of octets that tells what belongs to a prefix.
func readHash(text string) (hash [sha256.Size]byte, ok bool) {
	if octets, err := hex.DecodeString(strings.ReplaceAll(text, ":", "")); err == nil && len(octets) == sha256.Size {
		return [sha256.Size]byte(octets), true
	}
	for _, prefix := range []string{"", "sha256/", "sha256//"} {
		digits, found := strings.CutPrefix(text, prefix)
		if octets, err := base64.StdEncoding.DecodeString(digits); found && err == nil && len(octets) == sha256.Size {
			return [sha256.Size]byte(octets), true
		}
	}
	return hash, false
}

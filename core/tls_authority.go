package core

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// LoadAuthorities reads the certificates of authorities from PEM files, for
// tls.Config.RootCAs. They are trusted instead of the system's; for both, add
// them to [x509.SystemCertPool].
//
// Unlike [x509.CertPool.AppendCertsFromPEM] it passes over nothing: a file that
// holds no certificate, or anything besides certificates, is an error. The files
// are read once.
func LoadAuthorities(files ...string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, errors.New("no file with authorities is named: with an empty pool no certificate would verify")
	}
	pool := x509.NewCertPool()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		certificates, err := parseCertificates(text)
		if err != nil {
			return nil, fmt.Errorf("authorities in %s: %w", file, err)
		}
		for _, c := range certificates {
			pool.AddCert(c)
		}
	}
	return pool, nil
}

// parseCertificates reads PEM that has certificates and nothing else but text.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		rest := text
		if block, text = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it has a block %q: only certificates belong there", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	switch {
	case bytes.Contains(text, []byte("-----BEGIN ")):
		return nil, fmt.Errorf("what follows certificate %d is broken: the file may be cut off", len(list))
	case len(list) == 0:
		return nil, errors.New("it has no certificate in PEM: look for a line -----BEGIN CERTIFICATE-----")
	}
	return list, nil
}

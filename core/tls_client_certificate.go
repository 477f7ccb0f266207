package core

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
)

// LoadClientCertificate reads a certificate chain and its private key from PEM
// files, which may be one, and returns a function for
// tls.Config.GetClientCertificate that reads them again when they have changed:
// a certificate may be renewed while the program runs.
//
// It looks at the files at each handshake. While they cannot be read, or do not
// belong together because only one was replaced so far, the certificate before
// is used, and report, unless it is nil, is told why, once for each reason. It is
// called from the goroutine of the handshake, one call at a time. The returned
// function is safe for concurrent use.
//
// A client does not resume TLS sessions then: the server would go on with the
// certificate that it saw first. The error is that of the first reading.
func LoadClientCertificate(certificateFile, keyFile string, report func(error)) (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	c := &clientCertificate{certificateFile: certificateFile, keyFile: keyFile, report: report}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c.get, nil
}

type clientCertificate struct {
	certificateFile, keyFile string
	report                   func(error)

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]os.FileInfo
	failure string // reported last
}

// get returns the certificate for a handshake.
func (c *clientCertificate) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.load()
	if err == nil {
		c.failure = ""
	} else if text := err.Error(); text != c.failure {
		c.failure = text
		if c.report != nil {
			c.report(err)
		}
	}
	return c.current, nil
}

// load reads the files, unless they are those that were read before.
func (c *clientCertificate) load() error {
	var now [2]os.FileInfo
	changed := false
	for i, file := range []string{c.certificateFile, c.keyFile} {
		var err error
		if now[i], err = os.Stat(file); err != nil {
			return fmt.Errorf("client certificate: %w", err)
		}
		changed = changed || !sameVersion(c.seen[i], now[i])
	}
	if !changed {
		return nil
	}
	certificate, err := tls.LoadX509KeyPair(c.certificateFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("client certificate %s with key %s: %w", c.certificateFile, c.keyFile, err)
	}
	c.current, c.seen = &certificate, now
	return nil
}

// sameVersion reports whether a file is what it was.
func sameVersion(before, now os.FileInfo) bool {
	return before != nil && os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()) && before.Size() == now.Size()
}

package core

import (
	"bytes"
	"crypto/x509"
	"errors"
)

// certificateHint says what to do about a certificate that does not verify.
func certificateHint(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "check the host name in the URL, or name the server as its certificate does with Config.TLS.ServerName"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the server's certificate is out of date: have it renewed, and check this machine's clock"
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if selfSigned(e.Cert) {
			return "the server's certificate is self-signed: add it to Config.TLS.RootCAs, see LoadAuthorities, or pin it, see PinnedTLS"
		}
		return "add the authority to Config.TLS.RootCAs, see LoadAuthorities"
	}
	return "check the host name in the URL, or add the authority to Config.TLS.RootCAs"
}

// selfSigned reports whether nobody but the certificate itself vouches for it.
func selfSigned(c *x509.Certificate) bool {
	return c != nil && bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

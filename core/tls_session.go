package core

import "crypto/tls"

// resumable returns the base of a client's handshakes. Its sessions share a cache
// of TLS sessions (RFC 8446 §2.2), so that all but the first handshake do without
// certificates and signatures, unless the caller has a cache of his own or wants
// to be asked at every handshake: a resumed session does not show a certificate
// of either side again, and would pass over his functions.
func resumable(base *tls.Config) *tls.Config {
	config := &tls.Config{}
	if base != nil {
		config = base.Clone()
	}
	if config.ClientSessionCache == nil && config.VerifyPeerCertificate == nil && config.GetClientCertificate == nil {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	return config
}

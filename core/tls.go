package core

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// TLSPolicy says how much TLS a session must have before a mail transaction
// starts.
type TLSPolicy uint8

const (
	// TLSDefault is TLSRequired, but TLSOpportunistic where the stream does not
	// leave this machine, and nothing where the transport protects it itself.
	TLSDefault TLSPolicy = iota
	// TLSRequired: no envelope and no credential without TLS and a certificate
	// that verifies. A server that does not offer STARTTLS is refused.
	TLSRequired
	// TLSOpportunistic: TLS if it is offered; a server that offers it and then
	// fails at it is not tried in clear text. A certificate that does not
	// verify is reported in [Peer.TLSError] and does not stop the session, but
	// no mechanism that shows a secret is used with it. With implicit TLS it is
	// the same as TLSRequired.
	TLSOpportunistic
	// TLSOff: STARTTLS is not used, even if offered.
	TLSOff
)

// String returns the policy's name.
func (p TLSPolicy) String() string {
	return [...]string{"default", "required", "opportunistic", "off"}[min(p, TLSOff)]
}

// effective resolves TLSDefault for an endpoint.
func (p TLSPolicy) effective(e *Endpoint) TLSPolicy {
	if p != TLSDefault {
		return p
	}
	switch {
	case e.Security == ImplicitTLS:
		return TLSRequired
	case e.Local || e.Security == Protected:
		return TLSOpportunistic
	}
	return TLSRequired
}

// tlsConfig returns the configuration for one handshake with the endpoint, and
// a pointer to what is wrong with the certificate once the handshake is done,
// if the policy lets that pass.
func tlsConfig(base *tls.Config, e *Endpoint, policy TLSPolicy) (*tls.Config, *error) {
	config := &tls.Config{}
	if base != nil {
		config = base.Clone()
	}
	// RFC 8997: TLS 1.0 and 1.1 are not to be used for mail.
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	// Small records at first are for readers who can use half a page.
	config.DynamicRecordSizingDisabled = true
	if config.ServerName == "" {
		config.ServerName = e.ServerName
	}
	var unverified error
	if policy == TLSOpportunistic && e.Security != ImplicitTLS && !config.InsecureSkipVerify {
		// Verification still happens, only its result is reported instead of
		// being fatal.
		roots, name, also := config.RootCAs, config.ServerName, config.VerifyConnection
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(state tls.ConnectionState) error {
			unverified = verify(state, roots, name)
			if also != nil {
				return also(state)
			}
			return nil
		}
	}
	return config, &unverified
}

// verify checks a certificate chain as crypto/tls would have.
func verify(state tls.ConnectionState, roots *x509.CertPool, name string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	options := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}

// tlsError classes a failed handshake: a certificate that does not verify will
// not do so the next time, a lost connection may.
func tlsError(err error, security Security) *Error {
	e := &Error{Stage: StageTLS, Class: Temporary, Err: err}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		e.Class = Permanent
		e.Hint = certificateHint(err)
	}
	if _, ok := errors.AsType[*PinError](err); ok {
		e.Class = Permanent
		e.Hint = "find out why the server has another certificate before you pin that"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		e.Class = Temporary // as any other breach of a protocol
		e.Hint = "what the server answered is not TLS"
		if security == ImplicitTLS {
			e.Hint = "the server does not speak TLS from the first octet on this port: use the smtp scheme for STARTTLS (ports 25, 587)"
		}
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		e.Hint = "the server refused the handshake"
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		e.Class = Temporary
	}
	return e
}

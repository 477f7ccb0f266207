package core

import (
	"crypto/tls"
	"net"
)

// Protocol is the protocol spoken on a stream.
type Protocol uint8

const (
	// SMTP is RFC 5321: EHLO, and one reply to the content.
	SMTP Protocol = iota
	// LMTP is RFC 2033: LHLO, and one reply to the content for each recipient
	// that was accepted.
	LMTP
)

// String returns "smtp" or "lmtp".
func (p Protocol) String() string {
	if p == LMTP {
		return "lmtp"
	}
	return "smtp"
}

// Peer is what is known of the server at the other end of a session. It is a
// snapshot that nothing changes afterwards: a new hello makes a new one.
type Peer struct {
	// Endpoint is the URL that the session was opened for.
	Endpoint string
	// ServerName is the configured name of the server: the host of the URL.
	// It is what the certificate is verified against, unless Config.TLS names
	// another one.
	ServerName string
	// Addr is the address of the other end of the connection; behind a proxy
	// that is the proxy's.
	Addr net.Addr
	// Local says that nothing lies between the two ends but this machine: a
	// loopback address or a Unix socket.
	Local bool
	// Protocol is SMTP or LMTP.
	Protocol Protocol
	// Greeting is the server's first reply.
	Greeting Reply
	// Domain is the name that the server gave itself in its reply to EHLO. It
	// is a claim and nothing more.
	Domain string
	// Extensions is what the last EHLO announced.
	Extensions Extensions
	// TLS is the state of TLS, or nil.
	TLS *tls.ConnectionState
	// TLSError is why the certificate did not verify, where the policy let that
	// pass. It is nil if the certificate is good.
	TLSError error
	// ClientCertificate says that a client certificate is configured: the server
	// has it if it asked for it.
	ClientCertificate bool
	// Mechanism is the name of the mechanism that authenticated the session,
	// or "".
	Mechanism string
}

// Secure reports whether a reusable secret may be shown to the peer: the
// session has TLS with a certificate that the policy accepts, or does not leave
// this machine.
func (p *Peer) Secure() bool { return p.Local || p.TLS != nil && p.TLSError == nil }

package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/postrider/postrider/core"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
)

// exporterLabel and exporterLength are of RFC 9266 §2.
const (
	exporterLabel  = "EXPORTER-Channel-Binding"
	exporterLength = 32
)

// Peer returns what a plugin sees of a server.
func Peer(p *core.Peer) *mechanismv1.Peer {
	if p == nil {
		return nil
	}
	return &mechanismv1.Peer{
		Endpoint:          endpoint(p.Endpoint),
		ServerName:        text(p.ServerName),
		Domain:            text(p.Domain),
		Local:             p.Local,
		Lmtp:              p.Protocol == core.LMTP,
		Mechanisms:        p.Extensions.Mechanisms(), // ASCII
		ClientCertificate: p.ClientCertificate,
		Tls:               tlsState(p),
	}
}

// endpoint is a URL without what may hold a secret: the user, the query. What
// follows the host of a Unix socket's is its path.
func endpoint(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return text((&url.URL{Scheme: u.Scheme, Host: u.Host}).String())
}

// text is for names that a server chose: proto3 has no strings but UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func tlsState(p *core.Peer) *mechanismv1.TLS {
	if p.TLS == nil {
		return nil
	}
	t := &mechanismv1.TLS{Version: uint32(p.TLS.Version), Verified: p.TLSError == nil}
	if len(p.TLS.PeerCertificates) > 0 {
		t.Certificate = p.TLS.PeerCertificates[0].Raw
	}
	if !p.TLS.HandshakeComplete {
		return t // a state that was made by hand has no keys, and panics when it is asked for some
	}
	// The context is empty, and not absent, which TLS 1.2 tells apart (RFC 5705
	// §4). A session that cannot do it returns an error.
	if keys, err := p.TLS.ExportKeyingMaterial(exporterLabel, []byte{}, exporterLength); err == nil {
		t.TlsExporter = keys
	}
	return t
}

var errNotVerified = errors.New("the host did not verify the certificate")

// CorePeer returns a peer as a mechanism in a plugin gets it. It cannot have the
// extensions, and its TLS state has no keys: HandshakeComplete is false for that
// reason.
func CorePeer(p *mechanismv1.Peer) (*core.Peer, error) {
	peer := &core.Peer{
		Endpoint:          p.GetEndpoint(),
		ServerName:        p.GetServerName(),
		Domain:            p.GetDomain(),
		Local:             p.GetLocal(),
		ClientCertificate: p.GetClientCertificate(),
	}
	if p.GetLmtp() {
		peer.Protocol = core.LMTP
	}
	t := p.GetTls()
	if t == nil {
		return peer, nil
	}
	peer.TLS = &tls.ConnectionState{Version: uint16(t.GetVersion()), ServerName: p.GetServerName()}
	if len(t.GetCertificate()) > 0 {
		leaf, err := x509.ParseCertificate(t.GetCertificate())
		if err != nil {
			return nil, fmt.Errorf("the host sent a certificate that cannot be read: %w", err)
		}
		peer.TLS.PeerCertificates = []*x509.Certificate{leaf}
	}
	if !t.GetVerified() {
		peer.TLSError = errNotVerified
	}
	return peer, nil
}

package mechanisms

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"

	"github.com/xdg-go/scram"

	"github.com/postrider/postrider/core"
)

// Binding is what a SCRAM mechanism binds itself to: a type of channel binding
// (RFC 5056).
type Binding uint8

const (
	// BestBinding is TLSExporter if the session can do it: with TLS 1.3, and
	// with TLS 1.2 if it has an extended master secret (RFC 7627). Otherwise it
	// is TLSServerEndPoint.
	BestBinding Binding = iota
	// TLSExporter binds to the keys of the TLS connection (RFC 9266).
	TLSExporter
	// TLSServerEndPoint binds to the server's certificate (RFC 5929 §4), and so
	// works behind a proxy that has the same one. It cannot be had with a
	// certificate that is signed by Ed25519, which names no hash function.
	TLSServerEndPoint
)

// String returns the registered name of the type: "tls-exporter".
func (b Binding) String() string {
	switch b {
	case BestBinding:
		return "best"
	case TLSExporter:
		return string(scram.ChannelBindingTLSExporter)
	case TLSServerEndPoint:
		return string(scram.ChannelBindingTLSServerEndpoint)
	}
	return fmt.Sprintf("Binding(%d)", uint8(b))
}

// to returns the binding to a session of TLS, which may be nil.
func (b Binding) to(state *tls.ConnectionState) (scram.ChannelBinding, error) {
	if state == nil {
		return scram.ChannelBinding{}, fmt.Errorf("%w: there is nothing to bind to without it", core.ErrTLSRequired)
	}
	switch b {
	case TLSExporter:
		return exporterBinding(state)
	case TLSServerEndPoint:
		return endPointBinding(state)
	}
	binding, exporterErr := exporterBinding(state)
	if exporterErr == nil {
		return binding, nil
	}
	binding, err := endPointBinding(state)
	if err != nil {
		return scram.ChannelBinding{}, errors.Join(exporterErr, err)
	}
	return binding, nil
}

// exporterBinding is RFC 9266 §2. The library's own passes no context instead of
// an empty one, which TLS 1.2 tells apart (RFC 5705 §4).
func exporterBinding(state *tls.ConnectionState) (scram.ChannelBinding, error) {
	if !state.HandshakeComplete {
		return scram.ChannelBinding{}, errors.New("tls-exporter cannot be used before the end of the handshake")
	}
	keys, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil {
		return scram.ChannelBinding{}, fmt.Errorf("tls-exporter cannot be used: %w", err)
	}
	return scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: keys}, nil
}

// endPointBinding is RFC 5929 §4.1. Of a session that was resumed, the certificate
// is that of the first handshake.
func endPointBinding(state *tls.ConnectionState) (scram.ChannelBinding, error) {
	if len(state.PeerCertificates) == 0 {
		return scram.ChannelBinding{}, errors.New("tls-server-end-point cannot be used: the server has no certificate")
	}
	leaf := state.PeerCertificates[0]
	h := endPointHash(leaf.SignatureAlgorithm)
	if h == nil {
		return scram.ChannelBinding{}, fmt.Errorf("tls-server-end-point cannot be used: the certificate is signed by %v, which names no hash function (RFC 5929 §4.1)", leaf.SignatureAlgorithm)
	}
	h.Write(leaf.Raw)
	return scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: h.Sum(nil)}, nil
}

// endPointHash returns the hash function of a signature, SHA-256 instead of MD5
// and SHA-1, or nil if there is none.
func endPointHash(a x509.SignatureAlgorithm) hash.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.DSAWithSHA256, x509.ECDSAWithSHA256:
		return sha256.New()
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return sha512.New384()
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return sha512.New()
	}
	return nil
}

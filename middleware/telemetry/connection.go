package telemetry

import (
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// connection is what is kept with a session for its attempts, of which there may
// be several at a time.
type connection struct {
	opened trace.SpanContext // of the span in which it was opened, perhaps by another delivery
	used   atomic.Bool       // an attempt ran on it
}

// connectionOf returns what is kept with the session of an attempt, or nil if
// whoever assembled the client left the Connect function out. Before next it may
// be a dead session's, which is replaced then.
func (t *observer) connectionOf(a *core.Attempt) *connection {
	c, _ := a.Value(t).(*connection)
	return c
}

// appendSession appends what there is to say of the session of an attempt, and
// links the span of the attempt to the one in which the session was opened.
func (t *observer) appendSession(attrs []attribute.KeyValue, span trace.Span, a *core.Attempt) []attribute.KeyValue {
	attrs = appendPeer(attrs, a.Peer())
	c := t.connectionOf(a)
	if c == nil {
		return attrs
	}
	if c.opened.IsSampled() { // otherwise there is nothing to be found behind the link
		span.AddLink(trace.Link{SpanContext: c.opened})
	}
	return append(attrs, ConnectionReusedKey.Bool(c.used.Load()))
}

// appendPeer appends the attributes that only a connection has.
func appendPeer(attrs []attribute.KeyValue, peer *core.Peer) []attribute.KeyValue {
	attrs = appendAddress(attrs, peer.Addr)
	attrs = appendTLS(attrs, peer)
	return appendMechanism(attrs, peer.Mechanism)
}

// appendAddress says which address a connection has led to.
func appendAddress(attrs []attribute.KeyValue, addr net.Addr) []attribute.KeyValue {
	switch a := addr.(type) {
	case *net.TCPAddr:
		ip := a.AddrPort().Addr().Unmap()
		return append(attrs,
			semconv.NetworkTransportTCP,
			semconv.NetworkPeerAddressKey.String(ip.String()),
			semconv.NetworkPeerPortKey.Int(a.Port))
	case *net.UnixAddr:
		return append(attrs, semconv.NetworkTransportUnix, semconv.NetworkPeerAddressKey.String(a.Name))
	}
	// There is none, or a transport of the user's has made it: it can be anything.
	return attrs
}

// appendTLS describes the state of TLS, if there is one.
func appendTLS(attrs []attribute.KeyValue, peer *core.Peer) []attribute.KeyValue {
	if peer.TLS == nil {
		return attrs
	}
	return append(attrs,
		semconv.TLSProtocolVersionKey.String(strings.TrimPrefix(tls.VersionName(peer.TLS.Version), "TLS ")),
		semconv.TLSCipherKey.String(tls.CipherSuiteName(peer.TLS.CipherSuite)),
		TLSVerifiedKey.Bool(peer.TLSError == nil))
}

// appendMechanism names a mechanism, if there is one.
func appendMechanism(attrs []attribute.KeyValue, name string) []attribute.KeyValue {
	if name == "" {
		return attrs
	}
	return append(attrs, AuthMechanismKey.String(name))
}

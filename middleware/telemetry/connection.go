package telemetry

import (
	"crypto/tls"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// connection is what is kept with a session: what its attempts have in common.
type connection struct {
	server *server
	// startAttempt has the attributes, and the link to the span in which the
	// session was opened, perhaps by another delivery.
	startAttempt []trace.SpanStartOption
	used         atomic.Bool // an attempt ran on it
}

// newConnection describes a session that was opened in a span.
func newConnection(s *server, peer *core.Peer, opened trace.SpanContext) *connection {
	attrs := append(s.attrs[:len(s.attrs):len(s.attrs)], learnt(peer)...)
	c := &connection{server: s}
	c.startAttempt = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...)}
	if opened.IsSampled() { // otherwise there is nothing to be found behind the link
		c.startAttempt = append(c.startAttempt, trace.WithLinks(trace.Link{SpanContext: opened}))
	}
	return c
}

// connectionOf returns what was kept with the session of an attempt.
func (t *observer) connectionOf(a *core.Attempt) *connection {
	if c, ok := a.Value(t).(*connection); ok {
		return c
	}
	// Whoever assembled the client left the Connect function out.
	peer := a.Peer()
	e := core.Endpoint{ServerName: peer.ServerName, Protocol: peer.Protocol}
	return newConnection(newServer(e), peer, trace.SpanContext{})
}

// learnt is the attributes that only a connection has.
func learnt(peer *core.Peer) []attribute.KeyValue {
	attrs := peerAttributes(peer.Addr)
	attrs = append(attrs, tlsAttributes(peer)...)
	if peer.Mechanism != "" {
		attrs = append(attrs, AuthMechanismKey.String(peer.Mechanism))
	}
	return attrs
}

// tlsAttributes describes the state of TLS, if there is one.
func tlsAttributes(peer *core.Peer) []attribute.KeyValue {
	if peer.TLS == nil {
		return nil
	}
	return []attribute.KeyValue{
		semconv.TLSProtocolVersionKey.String(strings.TrimPrefix(tls.VersionName(peer.TLS.Version), "TLS ")),
		semconv.TLSCipherKey.String(tls.CipherSuiteName(peer.TLS.CipherSuite)),
		TLSVerifiedKey.Bool(peer.TLSError == nil),
	}
}

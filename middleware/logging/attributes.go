package logging

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// The names of the attributes. What package telemetry records on spans too is
// called as it is there.
const (
	keyServer      = "server.address"
	keyPort        = "server.port"
	keyProtocol    = "network.protocol.name"
	keyPeerAddress = "network.peer.address"
	keyDomain      = "postrider.server.domain"
	keyTLS         = "tls.protocol.version"
	keyTLSVerified = "postrider.tls.verified"
	keyMechanism   = "postrider.auth.mechanism"

	keyDuration = "duration"
	keyAttempts = "postrider.delivery.attempts"
	keyNumber   = "postrider.attempt.number"
	keyRetry    = "postrider.attempt.retry"

	keyTotal    = "postrider.recipients.total"
	keyAccepted = "postrider.recipients.accepted"
	keyRefused  = "postrider.recipients.refused"
	keyDeferred = "postrider.recipients.deferred"
	keyUnknown  = "postrider.recipients.unknown"

	keyQueueID    = "postrider.message.queue_id"
	keySender     = "postrider.message.sender"
	keyRecipients = "postrider.message.recipients"
	keyRecipient  = "postrider.recipient.address"

	keyReplyCode    = "postrider.reply.code"
	keyEnhancedCode = "postrider.reply.enhanced_code"
	keyErrorStage   = "postrider.error.stage"
	keyErrorClass   = "postrider.error.class"
	keyError        = "error"

	// As OpenTelemetry has them in logs of other formats than its own.
	keyTraceID = "trace_id"
	keySpanID  = "span_id"
)

// appendEndpoint says which server it was for.
func appendEndpoint(attrs []slog.Attr, e core.Endpoint) []slog.Attr {
	address, service := e.ServerName, ""
	if strings.HasPrefix(e.Network, "unix") {
		address = e.Address
	} else if host, port, err := net.SplitHostPort(e.Address); err == nil {
		address, service = host, port
	}
	if address != "" {
		attrs = append(attrs, slog.String(keyServer, address))
	}
	if port, err := strconv.Atoi(service); err == nil {
		attrs = append(attrs, slog.Int(keyPort, port))
	}
	return append(attrs, slog.String(keyProtocol, e.Protocol.String()))
}

// appendPeer says what is known of the server, if there was one.
func appendPeer(attrs []slog.Attr, peer *core.Peer) []slog.Attr {
	if peer == nil {
		return attrs
	}
	if a, ok := peer.Addr.(*net.TCPAddr); ok { // that of another transport can be anything
		attrs = append(attrs, slog.String(keyPeerAddress, a.AddrPort().Addr().Unmap().String()))
	}
	if isDomain(peer.Domain) {
		attrs = append(attrs, slog.String(keyDomain, peer.Domain))
	}
	if peer.TLS != nil {
		attrs = append(attrs,
			slog.String(keyTLS, strings.TrimPrefix(tls.VersionName(peer.TLS.Version), "TLS ")),
			slog.Bool(keyTLSVerified, peer.TLSError == nil))
	}
	if peer.Mechanism != "" {
		attrs = append(attrs, slog.String(keyMechanism, peer.Mechanism))
	}
	return attrs
}

// isDomain reports whether the name that a server gave itself is one, or an
// address literal, and nothing else.
func isDomain(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !isLetterOrDigit(c) && !strings.ContainsRune("-_.:[]", rune(c)) {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

// appendQueueID appends a server's word for a message, if it looks like one that
// servers use. It is part of a reply's text, so it had better not be an address.
func appendQueueID(attrs []slog.Attr, id string) []slog.Attr {
	for i := range len(id) {
		if c := id[i]; !isLetterOrDigit(c) && c != '-' && c != '_' {
			return attrs
		}
	}
	if len(id) < 6 || len(id) > 64 || !strings.ContainsAny(id, "0123456789") {
		return attrs
	}
	return append(attrs, slog.String(keyQueueID, id))
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// appendTrace names the span that the context has, if it has one.
func appendTrace(ctx context.Context, attrs []slog.Attr) []slog.Attr {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return attrs
	}
	return append(attrs, slog.String(keyTraceID, span.TraceID().String()), slog.String(keySpanID, span.SpanID().String()))
}

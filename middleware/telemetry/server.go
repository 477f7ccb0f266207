package telemetry

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// server is what everything about one endpoint has in common, made once so that
// a success costs no memory.
type server struct {
	endpoint core.Endpoint
	attrs    []attribute.KeyValue

	startInternal []trace.SpanStartOption
	startClient   []trace.SpanStartOption
	succeeded     labels // of durations
	accepted      labels // of recipients
	idle, used    []metric.AddOption
}

// servers is what is known of the endpoints.
type servers struct {
	more  []attribute.KeyValue   // that they have in common
	known sync.Map               // of core.Endpoint, *server
	last  atomic.Pointer[server] // used last: nearly always the only one
}

// serverOf returns what is known of an endpoint.
func (l *servers) serverOf(e core.Endpoint) *server {
	if s := l.last.Load(); s != nil && s.endpoint == e {
		return s
	}
	found, ok := l.known.Load(e)
	if !ok {
		found, _ = l.known.LoadOrStore(e, newServer(e, l.more))
	}
	s := found.(*server)
	l.last.Store(s)
	return s
}

// endedWith returns the server that a span has ended with, which may be another
// one than it began with: a client may have several endpoints.
func (t *observer) endedWith(e core.Endpoint, began *server, span trace.Span) *server {
	s := t.serverOf(e)
	if s != began {
		span.SetAttributes(s.attrs...)
	}
	return s
}

func newServer(e core.Endpoint, more []attribute.KeyValue) *server {
	s := &server{endpoint: e}
	address, port := addressOf(e)
	if address != "" {
		s.attrs = append(s.attrs, semconv.ServerAddressKey.String(address))
	}
	if port > 0 {
		s.attrs = append(s.attrs, semconv.ServerPortKey.Int(port))
	}
	s.attrs = append(s.attrs, semconv.NetworkProtocolNameKey.String(e.Protocol.String()))
	s.attrs = append(s.attrs, more...)
	// Samplers see only what a span starts with.
	s.startInternal = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(s.attrs...)}
	s.startClient = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(s.attrs...)}
	s.succeeded = newLabels(s.attrs)
	s.accepted = newLabels(s.attrs, RecipientOutcomeKey.String(core.Accepted.String()))
	s.idle = newLabels(s.attrs, ConnectionStateKey.String("idle")).add
	s.used = newLabels(s.attrs, ConnectionStateKey.String("used")).add
	return s
}

// measure records how long something took. kind is the value of error.type if it
// failed, else "".
func (s *server) measure(ctx context.Context, h metric.Float64Histogram, took time.Duration, kind string) {
	labels := s.succeeded
	if kind != "" && h.Enabled(ctx) {
		labels = newLabels(s.attrs, semconv.ErrorTypeKey.String(kind))
	}
	h.Record(ctx, took.Seconds(), labels.record...)
}

// addressOf returns the values of server.address and server.port.
func addressOf(e core.Endpoint) (string, int) {
	if strings.HasPrefix(e.Network, "unix") {
		return e.Address, 0
	}
	host, service, err := net.SplitHostPort(e.Address)
	if err != nil {
		return e.ServerName, 0
	}
	port, err := strconv.Atoi(service)
	if err != nil {
		return host, 0
	}
	return host, port
}

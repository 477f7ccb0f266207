package main

import (
	"context"
	"encoding/json"
	"io"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
)

// spanLine is a span of OpenTelemetry as one line of JSON.
type spanLine struct {
	Trace      string         `json:"trace"`
	Span       string         `json:"span"`
	Parent     string         `json:"parent,omitempty"`
	Name       string         `json:"name"`
	Start      time.Time      `json:"start"`
	Duration   string         `json:"duration"`
	Error      string         `json:"error,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Events     []eventLine    `json:"events,omitempty"`
}

// eventLine is what happened within a span.
type eventLine struct {
	Name       string         `json:"name"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// spanWriter writes each span as a line when it ends.
type spanWriter struct{ w io.Writer }

// ExportSpans implements sdktrace.SpanExporter.
func (s spanWriter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	encoder := json.NewEncoder(s.w)
	encoder.SetEscapeHTML(false)
	for _, span := range spans {
		line := spanLine{
			Trace: span.SpanContext().TraceID().String(), Span: span.SpanContext().SpanID().String(), Name: span.Name(),
			Start: span.StartTime(), Duration: span.EndTime().Sub(span.StartTime()).String(), Error: span.Status().Description,
			Attributes: map[string]any{},
		}
		if span.Parent().IsValid() {
			line.Parent = span.Parent().SpanID().String()
		}
		for _, a := range span.Attributes() {
			line.Attributes[string(a.Key)] = a.Value.AsInterface()
		}
		for _, event := range span.Events() {
			one := eventLine{Name: event.Name, Attributes: map[string]any{}}
			for _, a := range event.Attributes {
				one.Attributes[string(a.Key)] = a.Value.AsInterface()
			}
			line.Events = append(line.Events, one)
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (spanWriter) Shutdown(context.Context) error { return nil }

func makeTelemetry(fields json.RawMessage, from stock) (core.Interceptor, error) {
	var f struct {
		Addresses bool `json:"addresses"`
		Exchanges bool `json:"exchanges"`
	}
	if err := readFields(fields, &f); err != nil {
		return core.Interceptor{}, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spanWriter{from.w}))
	options := []telemetry.Option{telemetry.WithTracerProvider(provider)}
	if f.Addresses {
		options = append(options, telemetry.WithAddresses())
	}
	if f.Exchanges {
		options = append(options, telemetry.WithExchangeSpans())
	}
	return telemetry.New(options...)
}

package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// connect observes the opening of a session.
func (t *observer) connect(next core.ConnectFunc) core.ConnectFunc {
	return func(ctx context.Context, c *core.Connect) (err error) {
		s := t.serverOf(c.Endpoint)
		ctx, span := t.tracer.Start(ctx, SpanConnect, s.startClient...)
		begun := time.Now()
		err = errAborted // unless next returns
		defer func() {
			t.connected(ctx, span, s, c, skipped(c, err), time.Since(begun))
			span.End()
		}()
		return next(ctx, c)
	}
}

// skipped returns the error of a session that an interceptor pretends to have
// opened, which the core finds out only when all have returned.
func skipped(c *core.Connect, err error) error {
	if err == nil && len(c.Steps) == 0 {
		return core.ErrNextSkipped
	}
	return err
}

// connected reports how the opening of a session ended.
func (t *observer) connected(ctx context.Context, span trace.Span, s *server, c *core.Connect, err error, took time.Duration) {
	if err == nil {
		// Also when nobody records this: a later delivery may be sampled.
		c.Set(t, &connection{opened: span.SpanContext()})
	}
	if span.IsRecording() {
		span.SetAttributes(appendPeer(nil, c.Peer())...)
		t.steps(ctx, c)
	}
	s.measure(ctx, t.connectDuration, took, mark(span, err, core.StageConnect))
	t.measureAuth(ctx, s, c)
}

// steps makes the spans of the steps, after the fact.
func (t *observer) steps(ctx context.Context, c *core.Connect) {
	for _, step := range c.Steps {
		_, span := t.tracer.Start(ctx, stepSpan(step.Name), trace.WithTimestamp(step.Start), trace.WithAttributes(stepAttributes(step, c.Peer())...))
		mark(span, step.Err, core.StageConnect)
		span.End(trace.WithTimestamp(step.End))
	}
}

// stepSpan returns the name of the span of a step.
func stepSpan(step string) string {
	switch step {
	case "dial":
		return SpanDial
	case "greeting":
		return SpanGreeting
	case "hello":
		return SpanHello
	case "tls":
		return SpanTLS
	case "auth":
		return SpanAuth
	}
	return "smtp " + step
}

// stepAttributes is what a step has found out.
func stepAttributes(step core.Step, peer *core.Peer) []attribute.KeyValue {
	switch step.Name {
	case "dial":
		return appendAddress(nil, peer.Addr)
	case "tls":
		return appendTLS(nil, peer)
	}
	return appendMechanism(nil, step.Mechanism)
}

// measureAuth measures the authentication, if it came to one.
func (t *observer) measureAuth(ctx context.Context, s *server, c *core.Connect) {
	if !t.authDuration.Enabled(ctx) {
		return
	}
	for _, step := range c.Steps {
		if step.Name != "auth" {
			continue
		}
		attrs := appendMechanism(nil, step.Mechanism)
		if step.Err != nil {
			attrs = append(attrs, semconv.ErrorTypeKey.String(explain(step.Err, core.StageAuth).kind))
		}
		t.authDuration.Record(ctx, step.End.Sub(step.Start).Seconds(), newLabels(s.attrs, attrs...).record...)
	}
}

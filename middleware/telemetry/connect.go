package telemetry

import (
	"context"
	"errors"
	"slices"
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
	}
	for _, step := range c.Steps {
		ctx := ctx
		if span.IsRecording() {
			ctx = t.step(ctx, step, c)
		}
		if step.Name == "auth" {
			t.measureAuth(ctx, s, step)
		}
	}
	s.measure(ctx, t.connectDuration, took, mark(span, err, core.StageConnect))
}

// step makes the span of a step, after the fact. The context is the step's.
func (t *observer) step(ctx context.Context, step core.Step, c *core.Connect) context.Context {
	ctx, span := t.tracer.Start(ctx, stepSpan(step.Name), trace.WithTimestamp(step.Start), trace.WithAttributes(stepAttributes(step, c)...))
	mark(span, step.Err, core.StageConnect)
	span.End(trace.WithTimestamp(step.End))
	return ctx
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
func stepAttributes(step core.Step, c *core.Connect) []attribute.KeyValue {
	switch step.Name {
	case "dial":
		return appendAddress(nil, c.Peer().Addr)
	case "tls":
		return appendTLS(nil, c.Peer())
	case "auth":
		return append(appendMechanism(nil, step.Mechanism), AuthChoiceKey.String(choiceOf(c)))
	}
	return nil
}

// choiceOf explains the choice of the mechanism, without what one panicked with,
// which may be anything.
func choiceOf(c *core.Connect) string {
	choice := c.Choice
	choice.Candidates = slices.Clone(choice.Candidates)
	for i := range choice.Candidates {
		candidate := &choice.Candidates[i]
		if _, ok := errors.AsType[*core.PanicError](candidate.Err); ok {
			candidate.Err = errPanicked
		}
	}
	return choice.String()
}

var errPanicked = errors.New("it panicked when it was asked")

// measureAuth measures an authentication.
func (t *observer) measureAuth(ctx context.Context, s *server, step core.Step) {
	if !t.authDuration.Enabled(ctx) {
		return
	}
	attrs := appendMechanism(nil, step.Mechanism)
	if step.Err != nil {
		attrs = append(attrs, semconv.ErrorTypeKey.String(explain(step.Err, core.StageAuth).kind))
	}
	t.authDuration.Record(ctx, step.End.Sub(step.Start).Seconds(), newLabels(s.attrs, attrs...).record...)
}

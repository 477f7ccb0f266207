package telemetry

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// attempt observes one transaction.
func (t *observer) attempt(next core.AttemptFunc) core.AttemptFunc {
	return func(ctx context.Context, a *core.Attempt) (err error) {
		s := t.serverOf(a.Endpoint())
		ctx, span := t.tracer.Start(ctx, SpanAttempt, s.startClient...)
		if isRetry(a) {
			t.retries.Add(ctx, 1, s.succeeded.add...)
		}
		begun := time.Now()
		err = errAborted // unless next returns
		defer func() {
			t.attempted(ctx, span, t.endedWith(a.Endpoint(), s, span), a, err, time.Since(begun))
			span.End()
		}()
		return next(ctx, a)
	}
}

// isRetry reports whether an attempt is for somebody who was tried before. It is
// not the attempt's number that tells: a server may take only so many recipients
// at once.
func isRetry(a *core.Attempt) bool {
	return slices.ContainsFunc(a.Recipients(), func(i int) bool { return a.Results()[i].Attempts > 1 })
}

// attempted reports how an attempt ended.
func (t *observer) attempted(ctx context.Context, span trace.Span, s *server, a *core.Attempt, err error, took time.Duration) {
	var c tally
	for _, i := range a.Recipients() {
		c.add(&a.Results()[i], err)
	}
	if c.reason == nil {
		c.reason = err // everybody was accepted, and then an interceptor failed
	}
	size := contentSize(a)
	if w := t.workOf(ctx); w != nil && size >= 0 {
		w.size = size
	}
	if span.IsRecording() {
		attrs := append(make([]attribute.KeyValue, 0, 18), AttemptNumberKey.Int(a.Number()))
		attrs = t.appendSession(attrs, span, a)
		attrs = c.appendCounts(attrs)
		attrs = appendContent(attrs, size, a.Reply().QueueID())
		if c.reason == nil {
			attrs = appendReply(attrs, a.Reply())
		}
		span.SetAttributes(attrs...)
		t.recipientEvents(span, a, err)
	}
	if conn := t.connectionOf(a); conn != nil {
		conn.used.Store(true) // also when nobody records this
	}
	s.measure(ctx, t.attemptDuration, took, mark(span, c.reason, core.StagePolicy))
}

// contentSize is [core.Attempt.ContentSize] of a body that may panic. It has done
// so for the core then, which knows whom to name.
func contentSize(a *core.Attempt) (size int64) {
	defer func() {
		if recover() != nil {
			size = -1
		}
	}()
	return a.ContentSize()
}

// maxRecipientEvents bounds the events of a span. The counts tell of the rest.
const maxRecipientEvents = 50

// recipientEvents says of each recipient who was not accepted why.
func (t *observer) recipientEvents(span trace.Span, a *core.Attempt, err error) {
	events := 0
	for _, i := range a.Recipients() {
		outcome, why := a.Results()[i].After(err)
		if outcome == core.Accepted || events == maxRecipientEvents {
			continue
		}
		events++
		f := explain(why, core.StagePolicy)
		attrs := []attribute.KeyValue{
			RecipientIndexKey.Int(i),
			RecipientOutcomeKey.String(outcome.String()),
			semconv.ErrorTypeKey.String(f.kind),
		}
		if t.addresses != nil {
			attrs = append(attrs, RecipientAddressKey.String(t.addresses(a.Results()[i].Address)))
		}
		span.AddEvent(EventRecipient, trace.WithAttributes(appendReply(attrs, f.reply)...))
	}
}

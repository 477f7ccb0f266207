package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// attempt observes one transaction.
func (t *observer) attempt(next core.AttemptFunc) core.AttemptFunc {
	return func(ctx context.Context, a *core.Attempt) (err error) {
		c := t.connectionOf(a)
		reused := c.used.Swap(true)
		ctx, span := t.tracer.Start(ctx, SpanAttempt, c.startAttempt...)
		if a.Number() > 1 {
			t.retries.Add(ctx, 1, c.server.succeeded.add...)
		}
		if !span.IsRecording() && !t.attemptDuration.Enabled(ctx) {
			err = next(ctx, a)
			span.End()
			return err
		}
		if span.IsRecording() {
			span.SetAttributes(AttemptNumberKey.Int(a.Number()), ConnectionReusedKey.Bool(reused))
		}
		begun, returned := time.Now(), false
		defer func() {
			if !returned {
				err = errAborted
			}
			t.attempted(ctx, span, c.server, a, err, time.Since(begun))
			span.End()
		}()
		err = next(ctx, a)
		returned = true
		return err
	}
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
	if span.IsRecording() {
		attrs := c.attributes(make([]attribute.KeyValue, 0, 8))
		if n := t.notesOf(ctx); n != nil && n.size.Load() >= 0 {
			attrs = append(attrs, MessageSizeKey.Int64(n.size.Load()))
		}
		if c.reason == nil {
			attrs = appendReply(attrs, a.Reply())
		}
		span.SetAttributes(attrs...)
		t.recipientEvents(span, a, err)
	}
	labels := s.succeeded
	if c.reason != nil {
		f := explain(c.reason, core.StagePolicy)
		f.mark(span)
		labels = s.failed(f.kind)
	}
	t.attemptDuration.Record(ctx, took.Seconds(), labels.record...)
}

// maxRecipientEvents bounds the events of a span. The counts tell of the rest.
const maxRecipientEvents = 50

// recipientEvents says of each recipient who was not accepted why.
func (t *observer) recipientEvents(span trace.Span, a *core.Attempt, err error) {
	events := 0
	for _, i := range a.Recipients() {
		outcome, why := settled(&a.Results()[i], err)
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
		if t.addresses {
			attrs = append(attrs, RecipientAddressKey.String(a.Results()[i].Address))
		}
		span.AddEvent(EventRecipient, trace.WithAttributes(appendReply(attrs, f.reply)...))
	}
}

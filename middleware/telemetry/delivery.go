package telemetry

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// work is what a delivery's context has for its attempts.
type work struct {
	span trace.Span // of the delivery
	size int64      // of the content in octets, which the attempts find out; -1 if nobody knows
}

// workOf returns what the context of an attempt has, or nil.
func (t *observer) workOf(ctx context.Context) *work {
	w, _ := ctx.Value(t).(*work)
	return w
}

// delivery observes one Send.
func (t *observer) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) (err error) {
		s := t.serverOf(d.Endpoint())
		ctx, span := t.tracer.Start(ctx, SpanDelivery, s.startInternal...)
		if !span.IsRecording() && !t.measuresDeliveries(ctx) && !t.header {
			err = next(ctx, d)
			span.End()
			return err
		}
		if t.addresses != nil && span.IsRecording() {
			span.SetAttributes(MessageSenderKey.String(t.addresses(d.Message().From)), MessageRecipientsKey.StringSlice(t.recorded(d.Message())))
		}
		w := &work{span: span, size: -1}
		ctx = context.WithValue(ctx, t, w)
		begun := time.Now()
		err = errAborted // unless next returns
		defer func() {
			t.delivered(ctx, span, t.endedWith(d.Endpoint(), s, span), d, err, w.size, time.Since(begun))
			span.End()
		}()
		return next(ctx, d)
	}
}

// delivered reports how a delivery ended.
func (t *observer) delivered(ctx context.Context, span trace.Span, s *server, d *core.Delivery, err error, size int64, took time.Duration) {
	receipt := d.Receipt()
	var c tally
	for i := range receipt.Recipients {
		c.add(&receipt.Recipients[i], err)
	}
	if span.IsRecording() {
		attrs := append(make([]attribute.KeyValue, 0, 8), DeliveryAttemptsKey.Int(receipt.Attempts))
		attrs = c.appendCounts(attrs)
		attrs = appendContent(attrs, size, receipt.QueueID())
		span.SetAttributes(attrs...)
	}
	// The error that the chain returned is one attempt's; what Send returns is
	// made from the outcomes.
	s.measure(ctx, t.deliveryDuration, took, mark(span, c.reason, core.StagePolicy))
	if size >= 0 {
		t.messageSize.Record(ctx, size, s.succeeded.record...)
	}
	t.countRecipients(ctx, s, receipt.Recipients, &c, err)
}

// countRecipients counts the recipients of a delivery by outcome, and those who
// were not accepted by the reason for it.
func (t *observer) countRecipients(ctx context.Context, s *server, results []core.RecipientResult, c *tally, err error) {
	if !t.recipients.Enabled(ctx) {
		return
	}
	if n := c.outcomes[core.Accepted]; n > 0 {
		t.recipients.Add(ctx, int64(n), s.accepted.add...)
	}
	if c.reason == nil {
		return
	}
	type cause struct {
		outcome core.Outcome
		kind    string
	}
	counts := make(map[cause]int64)
	for i := range results {
		if outcome, why := results[i].After(err); outcome != core.Accepted {
			counts[cause{outcome, explain(why, core.StagePolicy).kind}]++
		}
	}
	for k, n := range counts {
		labels := newLabels(s.attrs, RecipientOutcomeKey.String(k.outcome.String()), semconv.ErrorTypeKey.String(k.kind))
		t.recipients.Add(ctx, n, labels.add...)
	}
}

// appendContent appends what is known of the content: its size, and the name that
// the server gave it.
func appendContent(attrs []attribute.KeyValue, size int64, queueID string) []attribute.KeyValue {
	if size >= 0 {
		attrs = append(attrs, MessageSizeKey.Int64(size))
	}
	if isQueueID(queueID) {
		attrs = append(attrs, MessageQueueIDKey.String(queueID))
	}
	return attrs
}

// isQueueID reports whether a server's word for a message looks like one that
// servers use. It is the only part of a reply's text that is recorded, so it had
// better not be an address.
func isQueueID(id string) bool {
	for i := 0; i < len(id); i++ {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return strings.ContainsAny(id, "0123456789") && len(id) >= 6 && len(id) <= 64
}

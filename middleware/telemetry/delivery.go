package telemetry

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// delivery observes one Send.
func (t *observer) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) (err error) {
		s := t.serverOf(d.Endpoint())
		ctx, span := t.tracer.Start(ctx, SpanDelivery, s.startDelivery...)
		if !span.IsRecording() && !t.measuresDeliveries(ctx) {
			err = next(ctx, d)
			span.End()
			return err
		}
		if t.addresses && span.IsRecording() {
			span.SetAttributes(MessageSenderKey.String(d.Message().From), MessageRecipientsKey.StringSlice(addresses(d.Message())))
		}
		n := &notes{}
		n.size.Store(-1)
		ctx = context.WithValue(ctx, t, n)
		begun, returned := time.Now(), false
		defer func() {
			if !returned {
				err = errAborted
			}
			t.delivered(ctx, span, s, d, err, n.size.Load(), time.Since(begun))
			span.End()
		}()
		err = next(ctx, d)
		returned = true
		return err
	}
}

// notes is what is known of a delivery to what it consists of.
type notes struct {
	size atomic.Int64 // of the content; -1 if unknown
}

// notesOf returns the notes of the delivery that a context belongs to, or nil.
func (t *observer) notesOf(ctx context.Context) *notes {
	n, _ := ctx.Value(t).(*notes)
	return n
}

func addresses(m *core.Message) []string {
	list := make([]string, len(m.To))
	for i := range m.To {
		list[i] = m.To[i].Address
	}
	return list
}

// delivered reports how a delivery ended.
func (t *observer) delivered(ctx context.Context, span trace.Span, s *server, d *core.Delivery, err error, size int64, took time.Duration) {
	receipt := d.Receipt()
	var c tally
	for i := range receipt.Recipients {
		c.add(&receipt.Recipients[i], err)
	}
	if span.IsRecording() {
		attrs := c.attributes(make([]attribute.KeyValue, 0, 8))
		attrs = append(attrs, DeliveryAttemptsKey.Int(receipt.Attempts))
		if size >= 0 {
			attrs = append(attrs, MessageSizeKey.Int64(size))
		}
		if id := receipt.QueueID(); isQueueID(id) {
			attrs = append(attrs, MessageQueueIDKey.String(id))
		}
		span.SetAttributes(attrs...)
	}
	labels := s.succeeded
	if c.reason != nil {
		// The error that the chain returned is one attempt's; what Send returns
		// is made from the outcomes.
		f := explain(c.reason, core.StagePolicy)
		f.mark(span)
		labels = s.failed(f.kind)
	}
	t.deliveryDuration.Record(ctx, took.Seconds(), labels.record...)
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
		if outcome, why := settled(&results[i], err); outcome != core.Accepted {
			counts[cause{outcome, explain(why, core.StagePolicy).kind}]++
		}
	}
	for k, n := range counts {
		labels := newLabels(s.attrs, RecipientOutcomeKey.String(k.outcome.String()), semconv.ErrorTypeKey.String(k.kind))
		t.recipients.Add(ctx, n, labels.add...)
	}
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

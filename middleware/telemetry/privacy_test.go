package telemetry_test

import (
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/middleware/telemetry"
)

// A server that repeats in its replies whatever it was told.
func gossip() *smtpServer {
	return &smtpServer{answer: func(line string) string {
		switch {
		case strings.HasPrefix(line, "RCPT") && strings.Contains(line, carol):
			return "550 5.1.1 <" + carol + "> from <" + alice + "> is unknown"
		case strings.HasPrefix(line, "RCPT"), strings.HasPrefix(line, "MAIL"):
			return "250 2.1.0 " + line
		case line == ".":
			return "250 2.0.0 secret plan from " + alice + " for " + bob + " queued as 12345678"
		}
		return usual
	}}
}

func TestAddressesAndSubjectsAreNotRecordedUnasked(t *testing.T) {
	o := observe(t, telemetry.WithExchangeSpans())
	_, _ = send(t, o.client(serve(t, gossip())), letter(bob, carol))
	dump := o.dump()
	for _, word := range []string{"alice", "bob", "carol", "sender.example", "recipient.example", "secret plan"} {
		if strings.Contains(dump, word) {
			t.Errorf("%q was recorded", word)
		}
	}
	wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{"postrider.message.queue_id": "12345678"})
}

func TestAddressesAreRecordedOnSpansOnRequestAndNothingElseIs(t *testing.T) {
	o := observe(t, telemetry.WithAddresses())
	_, _ = send(t, o.client(serve(t, gossip())), letter(bob, carol))
	wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{
		"postrider.message.sender":     alice,
		"postrider.message.recipients": []string{bob, carol},
	})
	wantAttrs(t, "event", o.one(telemetry.SpanAttempt).Events()[0].Attributes, map[attribute.Key]any{"postrider.recipient.address": carol})
	for name, m := range o.metrics() {
		if text := fmt.Sprintf("%+v", m); strings.Contains(text, "@") || strings.Contains(text, ".example") {
			t.Errorf("the metric %s has an address: %s", name, text)
		}
	}
	if strings.Contains(o.dump(), "secret plan") {
		t.Error("the subject was recorded")
	}
}

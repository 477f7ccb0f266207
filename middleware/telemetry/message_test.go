package telemetry_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
)

func TestTheMessageSizeIsThatOfTheContentThatLaterInterceptorsMade(t *testing.T) {
	o := observe(t)
	header := core.Interceptor{Name: "header", Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			c.Prepend("X-A: b\r\n")
			return next(ctx, c)
		}
	}}
	if _, err := send(t, o.client(serve(t, &smtpServer{}), interceptors(header)), letter(bob)); err != nil {
		t.Fatal(err)
	}
	wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{"postrider.message.size": int64(27 + 8)})
}

func TestABodyThatPanicsIsNotBlamedOnTelemetry(t *testing.T) {
	o := observe(t)
	m := letter(bob)
	m.Body = badBody{m.Body}
	_, err := send(t, o.client(serve(t, &smtpServer{})), m)
	p, ok := errors.AsType[*core.PanicError](err)
	if !ok || strings.Contains(p.Where, "telemetry") {
		t.Errorf("Send: %v, want the panic of the body", err)
	}
}

type badBody struct{ core.Body }

func (badBody) Size() int64 { panic("no size") }

func TestAWordOfTheServerThatMayBeAnAddressIsNoQueueID(t *testing.T) {
	for _, reply := range []string{"queued as bob1@recipient.example", "queued as recipient", "queued as " + strings.Repeat("A1", 40), "thanks"} {
		o := observe(t)
		s := &smtpServer{answer: func(line string) string {
			if line == "." {
				return "250 2.0.0 Ok: " + reply
			}
			return usual
		}}
		if _, err := send(t, o.client(serve(t, s)), letter(bob)); err != nil {
			t.Fatal(err)
		}
		wantAttrs(t, reply, o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{"postrider.message.queue_id": nil})
	}
}

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

func TestTheMessageSizeIsThatOfTheContentAsSignedOnWhicheverSideOfTheSigner(t *testing.T) {
	signer := core.Interceptor{Name: "signer", Signs: true, Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			c.Prepend("X-A: b\r\n")
			return next(ctx, c)
		}
	}}
	for _, behind := range []bool{false, true} {
		o := observe(t)
		list := []core.Interceptor{o.tel, signer}
		if behind {
			list[0], list[1] = list[1], list[0]
		}
		if _, err := send(t, newClient(t, serve(t, &smtpServer{}), interceptors(list...)), letter(bob)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{telemetry.SpanDelivery, telemetry.SpanAttempt} {
			wantAttrs(t, name, o.one(name).Attributes(), map[attribute.Key]any{"postrider.message.size": int64(27 + 8)})
		}
	}
}

func TestABodyThatPanicsIsNotBlamedOnTelemetry(t *testing.T) {
	for name, body := range map[string]core.Body{"size": badSize{core.String("x")}, "form": badForm{core.String("x")}} {
		o := observe(t)
		m := letter(bob)
		m.Body = body
		_, err := send(t, o.client(serve(t, &smtpServer{})), m)
		p, ok := errors.AsType[*core.PanicError](err)
		if !ok || strings.Contains(p.Where, "telemetry") {
			t.Errorf("%s: Send: %v, want the panic of the body", name, err)
		}
		wantFailure(t, o.one(telemetry.SpanAttempt), "panic", "policy", "local")
	}
}

type badSize struct{ core.Body }

func (badSize) Size() int64 { panic("no size") }

type badForm struct{ core.Body }

func (badForm) Form() (core.Form, bool) { panic("no form") }

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

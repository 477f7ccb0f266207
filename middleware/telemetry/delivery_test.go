package telemetry_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
)

func TestADeliveryIsOneInternalSpanAndItsAttemptAClientSpanInIt(t *testing.T) {
	o := observe(t)
	address := serve(t, &smtpServer{})
	host, port, _ := strings.Cut(address, ":")

	ctx, caller := o.tracer.Tracer("test").Start(t.Context(), "caller")
	_, err := o.client(address).Send(ctx, letter(bob, carol))
	caller.End()
	if err != nil {
		t.Fatal(err)
	}
	delivery, attempt := o.one(telemetry.SpanDelivery), o.one(telemetry.SpanAttempt)

	if k := delivery.SpanKind(); k != trace.SpanKindInternal {
		t.Errorf("the delivery is %v", k)
	}
	if k := attempt.SpanKind(); k != trace.SpanKindClient {
		t.Errorf("the attempt is %v", k)
	}
	if !childOf(delivery, o.one("caller")) || !childOf(attempt, delivery) {
		t.Error("the attempt is not in the delivery, or the delivery not in the caller's span")
	}
	if name := delivery.InstrumentationScope().Name; name != telemetry.ScopeName {
		t.Errorf("the scope is %q", name)
	}
	wantSuccess(t, delivery)
	wantSuccess(t, attempt)
	wantAttrs(t, "delivery", delivery.Attributes(), map[attribute.Key]any{
		"server.address":                host,
		"network.protocol.name":         "smtp",
		"postrider.delivery.attempts":   int64(1),
		"postrider.recipients.total":    int64(2),
		"postrider.recipients.accepted": int64(2),
		"postrider.recipients.refused":  int64(0),
		"postrider.message.size":        int64(27),
		"postrider.message.queue_id":    "4Fx12c3D5Z",
	})
	wantAttrs(t, "attempt", attempt.Attributes(), map[attribute.Key]any{
		"server.address":                host,
		"network.protocol.name":         "smtp",
		"network.transport":             "tcp",
		"network.peer.address":          host,
		"postrider.attempt.number":      int64(1),
		"postrider.connection.reused":   false,
		"postrider.recipients.accepted": int64(2),
		"postrider.message.size":        int64(27),
		"postrider.message.queue_id":    "4Fx12c3D5Z",
		"postrider.reply.code":          int64(250),
		"postrider.reply.enhanced_code": "2.0.0",
	})
	for _, key := range []attribute.Key{"server.port", "network.peer.port"} {
		if v, ok := attr(attempt.Attributes(), key).(int64); !ok || port == "" || v == 0 {
			t.Errorf("%s is %v, want the port", key, v)
		}
	}
}

func TestARefusalOfOneOfTwoRecipientsFailsTheDeliveryAndSaysWhichAndWhy(t *testing.T) {
	o := observe(t)
	_, err := send(t, o.client(serve(t, refuse(carol, "550 5.1.1 no such user "+carol))), letter(bob, carol))
	if err == nil {
		t.Fatal("Send succeeded")
	}
	delivery, attempt := o.one(telemetry.SpanDelivery), o.one(telemetry.SpanAttempt)
	wantFailure(t, delivery, "550", "rcpt", "permanent")
	wantFailure(t, attempt, "550", "rcpt", "permanent")
	counts := map[attribute.Key]any{
		"postrider.recipients.total":    int64(2),
		"postrider.recipients.accepted": int64(1),
		"postrider.recipients.refused":  int64(1),
		"postrider.recipients.deferred": int64(0),
		"postrider.recipients.unknown":  int64(0),
		"postrider.reply.code":          int64(550),
		"postrider.reply.enhanced_code": "5.1.1",
	}
	wantAttrs(t, "delivery", delivery.Attributes(), counts)
	wantAttrs(t, "attempt", attempt.Attributes(), counts)

	events := attempt.Events()
	if len(events) != 1 || events[0].Name != telemetry.EventRecipient {
		t.Fatalf("the attempt has the events %v, want one for the recipient who was refused", events)
	}
	wantAttrs(t, "event", events[0].Attributes, map[attribute.Key]any{
		"postrider.recipient.index":     int64(1),
		"postrider.recipient.outcome":   "refused",
		"postrider.recipient.address":   nil,
		"error.type":                    "550",
		"postrider.reply.code":          int64(550),
		"postrider.reply.enhanced_code": "5.1.1",
	})
}

func TestAnAttemptThatFailedAndWasRetriedDoesNotMarkTheDelivery(t *testing.T) {
	o := observe(t)
	s := &smtpServer{answer: once("RCPT", "451 4.7.1 greylisted")}
	if _, err := send(t, o.client(serve(t, s), interceptors(again())), letter(bob)); err != nil {
		t.Fatal(err)
	}
	wantSuccess(t, o.one(telemetry.SpanDelivery))
	wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{"postrider.delivery.attempts": int64(2), "postrider.reply.code": nil})
	attempts := o.named(telemetry.SpanAttempt)
	if len(attempts) != 2 {
		t.Fatalf("there are %d attempts, want 2", len(attempts))
	}
	wantFailure(t, attempts[0], "451", "rcpt", "temporary")
	wantSuccess(t, attempts[1])
	wantAttrs(t, "second attempt", attempts[1].Attributes(), map[attribute.Key]any{"postrider.attempt.number": int64(2), "postrider.connection.reused": true})
}

func TestARecipientInDoubtSaysMoreThanOneWhoWasRefused(t *testing.T) {
	o := observe(t)
	s := &smtpServer{answer: func(line string) string {
		switch {
		case strings.Contains(line, bob):
			return "550 5.1.1 unknown"
		case line == ".":
			return hangUp
		}
		return usual
	}}
	if _, err := send(t, o.client(serve(t, s)), letter(bob, carol)); !errors.Is(err, core.ErrUnknownOutcome) {
		t.Fatalf("Send: %v, want an unknown outcome", err)
	}
	for _, name := range []string{telemetry.SpanDelivery, telemetry.SpanAttempt} {
		s := o.one(name)
		wantFailure(t, s, "delivery_unknown", "content", "temporary")
		wantAttrs(t, name, s.Attributes(), map[attribute.Key]any{"postrider.recipients.unknown": int64(1), "postrider.recipients.refused": int64(1), "postrider.reply.code": nil})
	}
}

func TestADeliveryWhoseContextEndsIsCanceled(t *testing.T) {
	o := observe(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := &smtpServer{answer: func(line string) string {
		if strings.HasPrefix(line, "MAIL") {
			cancel()
			return silence
		}
		return usual
	}}
	if _, err := o.client(serve(t, s)).Send(ctx, letter(bob)); !errors.Is(err, context.Canceled) {
		t.Fatalf("Send: %v, want a cancellation", err)
	}
	wantFailure(t, o.one(telemetry.SpanDelivery), "canceled", "mail", "temporary")
	wantFailure(t, o.one(telemetry.SpanAttempt), "canceled", "mail", "temporary")
	wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{"postrider.recipients.deferred": int64(1)})
}

func TestAnInterceptorThatRefusesADeliveryMakesItALocalFailureWithoutAttempt(t *testing.T) {
	o := observe(t)
	no := core.Interceptor{Name: "no", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(context.Context, *core.Delivery) error { return errors.New("not today") }
	}}
	_, err := send(t, o.client(serve(t, &smtpServer{}), interceptors(no)), letter(bob))
	if err == nil {
		t.Fatal("Send succeeded")
	}
	delivery := o.one(telemetry.SpanDelivery)
	wantFailure(t, delivery, "local", "policy", "local")
	wantAttrs(t, "delivery", delivery.Attributes(), map[attribute.Key]any{"postrider.message.size": nil})
	if n := len(o.named(telemetry.SpanAttempt)); n != 0 {
		t.Errorf("there are %d attempts", n)
	}
}

func TestARecipientWhomAnInterceptorKeptFromBeingTriedHasTheOutcomeThatTheReceiptHas(t *testing.T) {
	for name, err := range map[string]error{
		"nothing":    nil,
		"any error":  errors.New("x"),
		"canceled":   context.Canceled,
		"no network": &net.OpError{Err: errors.New("x")},
		"no file":    os.ErrNotExist,
		"permanent":  &core.Error{Stage: core.StagePolicy, Class: core.Permanent},
		"temporary":  &core.Error{Stage: core.StagePolicy, Class: core.Temporary},
		"in doubt":   &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: core.ErrUnknownOutcome},
	} {
		delivery := core.Interceptor{Name: "no", Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(context.Context, *core.Delivery) error { return err }
		}}
		attempt := core.Interceptor{Name: "no", Attempt: func(core.AttemptFunc) core.AttemptFunc {
			return func(context.Context, *core.Attempt) error { return err }
		}}
		for span, no := range map[string]core.Interceptor{telemetry.SpanDelivery: delivery, telemetry.SpanAttempt: attempt} {
			t.Run(name+", "+span, func(t *testing.T) {
				o := observe(t)
				receipt, _ := send(t, o.client(serve(t, &smtpServer{}), interceptors(no)), letter(bob, carol))
				for _, outcome := range []core.Outcome{core.Refused, core.Deferred, core.Unknown} {
					key := attribute.Key("postrider.recipients." + outcome.String())
					wantAttrs(t, span, o.one(span).Attributes(), map[attribute.Key]any{key: int64(receipt.Count(outcome))})
				}
			})
		}
	}
}

func TestADeliveryHasFailedExactlyWhenSendSaysSo(t *testing.T) {
	for _, c := range []struct {
		name  string
		to    []string
		after func(*core.Delivery) error
	}{
		{"a recipient was refused and the error swallowed", []string{bob, carol}, func(d *core.Delivery) error {
			d.Refuse(1, errors.New("on the suppression list"))
			return nil
		}},
		{"everybody was accepted and then an interceptor failed", []string{bob}, func(*core.Delivery) error {
			return errors.New("cannot write the journal")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := observe(t)
			i := core.Interceptor{Name: "after", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
				return func(ctx context.Context, d *core.Delivery) error {
					_ = next(ctx, d)
					return c.after(d)
				}
			}}
			_, err := send(t, o.client(serve(t, refuse(carol, "451 4.2.1 later")), interceptors(i)), letter(c.to...))
			if delivery := o.one(telemetry.SpanDelivery); err == nil {
				wantSuccess(t, delivery)
			} else {
				wantFailure(t, delivery, "local", "policy", "local")
			}
		})
	}
}

func TestAPanicInAnInnerInterceptorIsAnErrorTypeAndItsValueIsNotRecorded(t *testing.T) {
	boom := func() { panic("boom " + bob) }
	for name, inner := range map[string]core.Interceptor{
		telemetry.SpanDelivery: {Name: "bad", Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(context.Context, *core.Delivery) error { boom(); return nil }
		}},
		telemetry.SpanAttempt: {Name: "bad", Attempt: func(core.AttemptFunc) core.AttemptFunc {
			return func(context.Context, *core.Attempt) error { boom(); return nil }
		}},
		telemetry.SpanConnect: {Name: "bad", Connect: func(core.ConnectFunc) core.ConnectFunc {
			return func(context.Context, *core.Connect) error { boom(); return nil }
		}},
		telemetry.SpanExchange: {Name: "bad", Exchange: func(core.ExchangeFunc) core.ExchangeFunc {
			return func(context.Context, *core.Exchange) error { boom(); return nil }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := observe(t, telemetry.WithExchangeSpans())
			_, err := send(t, o.client(serve(t, &smtpServer{}), interceptors(inner)), letter(bob))
			if _, ok := errors.AsType[*core.PanicError](err); !ok {
				t.Fatalf("Send: %v, want a panic", err)
			}
			for _, name := range []string{name, telemetry.SpanDelivery} {
				if kind := attr(o.one(name).Attributes(), "error.type"); kind != "panic" {
					t.Errorf("%s: error.type is %v, want panic", name, kind)
				}
			}
			if strings.Contains(o.dump(), "boom") {
				t.Error("the panic's value was recorded")
			}
		})
	}
}

func TestAnAttemptTellsOfFiftyRecipientsWhoWereNotAcceptedAndCountsTheRest(t *testing.T) {
	o := observe(t)
	s := &smtpServer{answer: func(line string) string {
		if strings.HasPrefix(line, "RCPT") {
			return "550 no"
		}
		return usual
	}}
	_, _ = send(t, o.client(serve(t, s)), letter(slices.Repeat([]string{bob}, 70)...))
	attempt := o.one(telemetry.SpanAttempt)
	if n := len(attempt.Events()); n != 50 {
		t.Errorf("there are %d events, want 50", n)
	}
	wantAttrs(t, "attempt", attempt.Attributes(), map[attribute.Key]any{"postrider.recipients.refused": int64(70)})
}

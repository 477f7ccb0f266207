package telemetry_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net/mail"
	"strings"
	"testing"

	verifier "github.com/emersion/go-msgauth/dkim"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/telemetry"
	"github.com/postrider/postrider/transport"
)

// sentBy sends a letter through the interceptors to a server that defers it once,
// and returns the content that arrived.
func sentBy(t *testing.T, ctx context.Context, list ...core.Interceptor) []byte {
	t.Helper()
	deferred := false
	server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		if !deferred {
			deferred = true
			return smtptest.Reply("451 4.7.1 later")
		}
		return nil
	}})
	config := server.Config()
	config.Interceptors = list
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	m := letter(bob)
	m.Body = core.String("From: " + alice + "\r\n\r\nx\r\n")
	if _, err := client.Send(ctx, m); err != nil {
		t.Fatal(err)
	}
	return server.Messages()[0].Content
}

// receivedFrom returns the span that a receiver of content continues, with the
// propagator of the SDK.
func receivedFrom(t *testing.T, content []byte) trace.SpanContext {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(m.Header)))
}

func TestTheTraceIsNotPutIntoTheHeaderUnasked(t *testing.T) {
	o := observe(t)
	if got := receivedFrom(t, sentBy(t, t.Context(), o.tel, again())); got.IsValid() {
		t.Errorf("the receiver gets %v", got)
	}
}

// W3C Trace Context §3.2.
func TestTheReceiverOfAMessageContinuesTheSpanOfTheDelivery(t *testing.T) {
	o := observe(t, telemetry.WithTraceHeader())
	content := sentBy(t, t.Context(), o.tel, again())
	span := o.one(telemetry.SpanDelivery).SpanContext()
	want := "traceparent: 00-" + span.TraceID().String() + "-" + span.SpanID().String() + "-01\r\nFrom: "
	if !strings.HasPrefix(string(content), want) {
		t.Errorf("the content is %q, want it to begin with %q", content, want)
	}
	if got := receivedFrom(t, content); got.TraceID() != span.TraceID() || got.SpanID() != span.SpanID() || !got.IsSampled() {
		t.Errorf("the receiver gets %v, want the span of the delivery", got)
	}
	if n := len(o.named(telemetry.SpanAttempt)); n != 2 {
		t.Errorf("there were %d attempts, want 2", n)
	}
}

func TestTheTraceHeaderWithoutARecordedDelivery(t *testing.T) {
	caller := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	noTracer, noMeter := telemetry.WithTracerProvider(tracenoop.NewTracerProvider()), telemetry.WithMeterProvider(metricnoop.NewMeterProvider())
	never := telemetry.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())))
	for _, tt := range []struct {
		rule   string
		tracer telemetry.Option
		caller trace.SpanContext
		check  func(got, delivery trace.SpanContext) bool
	}{
		{"no SDK: there is none", noTracer, trace.SpanContext{}, func(got, _ trace.SpanContext) bool { return !got.IsValid() }},
		{"no SDK, a span of the caller's: it is that", noTracer, caller, func(got, _ trace.SpanContext) bool {
			return got.TraceID() == caller.TraceID() && got.SpanID() == caller.SpanID() && got.IsSampled()
		}},
		{"not sampled: it is the delivery's, and says so", never, trace.SpanContext{}, func(got, delivery trace.SpanContext) bool {
			return got.IsValid() && got.SpanID() == delivery.SpanID() && !got.IsSampled()
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			tel, err := telemetry.New(telemetry.WithTraceHeader(), tt.tracer, noMeter)
			if err != nil {
				t.Fatal(err)
			}
			var delivery trace.SpanContext
			notes := core.Interceptor{Name: "notes", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
				return func(ctx context.Context, d *core.Delivery) error {
					delivery = trace.SpanContextFromContext(ctx)
					return next(ctx, d)
				}
			}}
			content := sentBy(t, trace.ContextWithSpanContext(t.Context(), tt.caller), tel, notes, again())
			if got := receivedFrom(t, content); !tt.check(got, delivery) {
				t.Errorf("the receiver gets %v", got)
			}
		})
	}
}

func TestTheTraceHeaderIsThereWhenItIsSigned(t *testing.T) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{{
		Domain: "sender.example", Selector: "s", Signer: key, HeaderKeys: append(dkim.DefaultHeaderKeys(), "traceparent")}}})
	if err != nil {
		t.Fatal(err)
	}
	o := observe(t, telemetry.WithTraceHeader())
	content := sentBy(t, t.Context(), o.tel, again(), sign)
	if !receivedFrom(t, content).IsValid() {
		t.Error("it is not there")
	}
	verify := func(content []byte) error {
		list, err := verifier.VerifyWithOptions(bytes.NewReader(content), &verifier.VerifyOptions{LookupTXT: func(string) ([]string, error) {
			record, err := dkim.Record(public)
			return []string{record}, err
		}})
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %d signatures", err, len(list))
		}
		return list[0].Err
	}
	if err := verify(content); err != nil {
		t.Error(err)
	}
	if verify(bytes.Replace(content, []byte("traceparent: 00"), []byte("traceparent: 01"), 1)) == nil {
		t.Error("the signature does not cover it")
	}
}

func TestTheTraceHeaderIsRefusedBehindASigner(t *testing.T) {
	signer := core.Interceptor{Name: "signer", Signs: true, Content: func(next core.ContentFunc) core.ContentFunc { return next }}
	for header, refused := range map[bool]bool{true: true, false: false} {
		options := []telemetry.Option{nil}
		if header {
			options[0] = telemetry.WithTraceHeader()
		}
		o := observe(t, options...)
		client, err := core.NewClient(core.Config{Endpoint: "smtp://127.0.0.1:25", Transports: transport.Standard(), Interceptors: []core.Interceptor{signer, o.tel}})
		if (err != nil) != refused {
			t.Errorf("with the header %t: %v", header, err)
		}
		if err == nil {
			_ = client.Close()
		}
	}
}

package telemetry_test

import (
	"net"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/telemetry"
)

// labelled returns the attributes of a measurement against the server at an
// address.
func labelled(t *testing.T, address string, more ...attribute.KeyValue) attribute.Set {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return attribute.NewSet(append(more,
		attribute.String("server.address", a.IP.String()), attribute.Int("server.port", a.Port), attribute.String("network.protocol.name", "smtp"))...)
}

func outcome(o string) attribute.KeyValue { return attribute.String("postrider.recipient.outcome", o) }

func errorType(kind string) attribute.KeyValue { return attribute.String("error.type", kind) }

// wantDurations checks who was measured how often, in seconds.
func wantDurations(t *testing.T, m metricdata.Metrics, want map[attribute.Set]uint64) {
	t.Helper()
	h, ok := m.Data.(metricdata.Histogram[float64])
	if !ok || m.Unit != "s" {
		t.Fatalf("%q is a %T in %q, want a histogram in seconds", m.Name, m.Data, m.Unit)
	}
	for _, p := range h.DataPoints {
		if want[p.Attributes] != p.Count || p.Sum <= 0 || p.Sum > 60 {
			t.Errorf("%s: %d of %v in %v s, want %d", m.Name, p.Count, p.Attributes.Encoded(attribute.DefaultEncoder()), p.Sum, want[p.Attributes])
		}
		delete(want, p.Attributes)
	}
	for set, n := range want {
		t.Errorf("%s: nothing for %v, want %d", m.Name, set.Encoded(attribute.DefaultEncoder()), n)
	}
}

// wantCounts checks a counter as a whole.
func wantCounts(t *testing.T, m metricdata.Metrics, want map[attribute.Set]int64) {
	t.Helper()
	sum := metricdata.Sum[int64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	for set, n := range want {
		sum.DataPoints = append(sum.DataPoints, metricdata.DataPoint[int64]{Attributes: set, Value: n})
	}
	metricdatatest.AssertEqual(t, metricdata.Metrics{Name: m.Name, Description: m.Description, Unit: m.Unit, Data: sum}, m,
		metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
}

func TestEveryRecipientIsCountedByOutcomeAndReason(t *testing.T) {
	o := observe(t)
	address := serve(t, refuse(carol, "550 5.1.1 no such user"))
	client := o.client(address)
	_, _ = send(t, client, letter(bob, carol, carol))
	_, _ = send(t, client, letter(bob))

	m := o.metrics()
	wantCounts(t, m[telemetry.MetricDeliveryRecipients], map[attribute.Set]int64{
		labelled(t, address, outcome("accepted")):                  2,
		labelled(t, address, outcome("refused"), errorType("550")): 2,
	})
	for _, name := range []string{telemetry.MetricDeliveryDuration, telemetry.MetricAttemptDuration} {
		wantDurations(t, m[name], map[attribute.Set]uint64{labelled(t, address): 1, labelled(t, address, errorType("550")): 1})
	}
	wantDurations(t, m[telemetry.MetricConnectDuration], map[attribute.Set]uint64{labelled(t, address): 1})
	for _, absent := range []string{telemetry.MetricDeliveryRetries, telemetry.MetricAuthDuration} {
		if _, ok := m[absent]; ok {
			t.Errorf("%s was measured", absent)
		}
	}
}

func TestTheErrorTypeOfSpanAndMetricIsTheSame(t *testing.T) {
	for kind, answer := range map[string]func(string) string{
		"451":              once("RCPT", "451 4.7.1 later"),
		"552":              once(".", "552 5.3.4 too big"),
		"delivery_unknown": once(".", hangUp),
		"connection_lost":  once("MAIL", hangUp),
		"protocol":         once("MAIL", "what?"),
	} {
		t.Run(kind, func(t *testing.T) {
			o := observe(t)
			client := o.client(serve(t, &smtpServer{answer: answer}))
			if _, err := send(t, client, letter(bob)); err == nil {
				t.Fatal("Send succeeded")
			}
			for metric, span := range map[string]string{telemetry.MetricDeliveryDuration: telemetry.SpanDelivery, telemetry.MetricAttemptDuration: telemetry.SpanAttempt} {
				if have := attr(o.one(span).Attributes(), "error.type"); have != kind {
					t.Errorf("the span has the error.type %v", have)
				}
				points := o.metrics()[metric].Data.(metricdata.Histogram[float64]).DataPoints
				if v, _ := points[0].Attributes.Value("error.type"); len(points) != 1 || v.AsString() != kind {
					t.Errorf("the metric has the error.type %q", v.AsString())
				}
			}
		})
	}
}

func TestAttemptsForThoseWhoWereTriedBeforeAreRetries(t *testing.T) {
	o := observe(t)
	address := serve(t, &smtpServer{answer: once("RCPT", "451 4.7.1 later")})
	if _, err := send(t, o.client(address, interceptors(again())), letter(bob)); err != nil {
		t.Fatal(err)
	}
	m := o.metrics()
	wantCounts(t, m[telemetry.MetricDeliveryRetries], map[attribute.Set]int64{labelled(t, address): 1})
	wantCounts(t, m[telemetry.MetricDeliveryRecipients], map[attribute.Set]int64{labelled(t, address, outcome("accepted")): 1})
}

func TestAMessageInSeveralPartsIsNotRetried(t *testing.T) {
	o := observe(t)
	if _, err := send(t, o.client(serve(t, &smtpServer{announce: []string{"LIMITS RCPTMAX=1"}})), letter(bob, carol)); err != nil {
		t.Fatal(err)
	}
	if n := len(o.named(telemetry.SpanAttempt)); n != 2 {
		t.Errorf("there are %d attempts, want 2", n)
	}
	if _, ok := o.metrics()[telemetry.MetricDeliveryRetries]; ok {
		t.Error("a retry was counted")
	}
}

func TestAuthenticationsAreMeasuredByMechanismOrError(t *testing.T) {
	o := observe(t)
	address := serve(t, &smtpServer{announce: []string{"AUTH PLAIN"}, answer: once("AUTH", "454 4.7.0 later")})
	client := o.client(address, func(c *core.Config) { c.Auth = mechanisms.Password("u", "p") })
	if _, err := send(t, client, letter(bob)); err == nil {
		t.Fatal("the first Send succeeded")
	}
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	wantDurations(t, o.metrics()[telemetry.MetricAuthDuration], map[attribute.Set]uint64{
		labelled(t, address, attribute.String("postrider.auth.mechanism", "PLAIN")):                   1,
		labelled(t, address, attribute.String("postrider.auth.mechanism", "PLAIN"), errorType("454")): 1,
	})
}

func TestTheMessageSizeIsMeasuredOnceForADelivery(t *testing.T) {
	o := observe(t)
	address := serve(t, &smtpServer{})
	if _, err := send(t, o.client(address), letter(bob, carol)); err != nil {
		t.Fatal(err)
	}
	m := o.metrics()[telemetry.MetricMessageSize]
	points := m.Data.(metricdata.Histogram[int64]).DataPoints
	if len(points) != 1 || points[0].Count != 1 || points[0].Sum != 27 || m.Unit != "By" {
		t.Errorf("the size is %+v in %q, want 27 octets once", points, m.Unit)
	}
}

func TestABodyOfUnknownSizeIsNotMeasured(t *testing.T) {
	o := observe(t)
	m := letter(bob)
	m.Body = core.Reader(strings.NewReader("Subject: x\r\n\r\nx\r\n"))
	if _, err := send(t, o.client(serve(t, &smtpServer{})), m); err != nil {
		t.Fatal(err)
	}
	if _, ok := o.metrics()[telemetry.MetricMessageSize]; ok {
		t.Error("it was")
	}
	wantAttrs(t, "delivery", o.one(telemetry.SpanDelivery).Attributes(), map[attribute.Key]any{"postrider.message.size": nil})
}

func TestMeasurementsHaveTheSpanTheyBelongToAsExemplar(t *testing.T) {
	o := observe(t)
	client := o.client(serve(t, &smtpServer{announce: []string{"AUTH PLAIN"}}), func(c *core.Config) { c.Auth = mechanisms.Password("u", "p") })
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	m := o.metrics()
	for metric, span := range map[string]string{
		telemetry.MetricDeliveryDuration: telemetry.SpanDelivery,
		telemetry.MetricAttemptDuration:  telemetry.SpanAttempt,
		telemetry.MetricConnectDuration:  telemetry.SpanConnect,
		telemetry.MetricAuthDuration:     telemetry.SpanAuth,
	} {
		points := m[metric].Data.(metricdata.Histogram[float64]).DataPoints
		if len(points) != 1 || len(points[0].Exemplars) != 1 {
			t.Errorf("%s has no exemplar", metric)
			continue
		}
		e, want := points[0].Exemplars[0], o.one(span).SpanContext()
		if trace.TraceID(e.TraceID) != want.TraceID() || trace.SpanID(e.SpanID) != want.SpanID() {
			t.Errorf("the exemplar of %s is not the span %q", metric, span)
		}
	}
	size := m[telemetry.MetricMessageSize].Data.(metricdata.Histogram[int64]).DataPoints[0].Exemplars
	recipients := m[telemetry.MetricDeliveryRecipients].Data.(metricdata.Sum[int64]).DataPoints[0].Exemplars
	if want := o.one(telemetry.SpanDelivery).SpanContext().TraceID(); len(size) != 1 || len(recipients) != 1 || trace.TraceID(size[0].TraceID) != want || trace.TraceID(recipients[0].TraceID) != want {
		t.Errorf("the exemplars are %v and %v, want ones of the trace", size, recipients)
	}
}

func TestMeasurementsThatNoSampledSpanBelongsToHaveNoExemplar(t *testing.T) {
	o := observe(t)
	unsampled := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	if _, err := o.client(serve(t, &smtpServer{})).Send(unsampled, letter(bob)); err != nil {
		t.Fatal(err)
	}
	points := o.metrics()[telemetry.MetricDeliveryDuration].Data.(metricdata.Histogram[float64]).DataPoints
	if len(points) != 1 || points[0].Count != 1 || len(points[0].Exemplars) != 0 {
		t.Errorf("got %v, want a measurement without exemplar", points)
	}
}

func TestADeliveryThatIsNotSampledIsMeasuredAllTheSame(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	tel, err := telemetry.New(
		telemetry.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))),
		telemetry.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, refuse(bob, "550 no"))
	_, _ = send(t, newClient(t, address, interceptors(tel)), letter(bob))
	m := (&observed{t: t, reader: reader}).metrics()
	wantCounts(t, m[telemetry.MetricDeliveryRecipients], map[attribute.Set]int64{labelled(t, address, outcome("refused"), errorType("550")): 1})
	wantDurations(t, m[telemetry.MetricDeliveryDuration], map[attribute.Set]uint64{labelled(t, address, errorType("550")): 1})
	wantDurations(t, m[telemetry.MetricAttemptDuration], map[attribute.Set]uint64{labelled(t, address, errorType("550")): 1})
}

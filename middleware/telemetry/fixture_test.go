package telemetry_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/telemetry"
	"github.com/postrider/postrider/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The people of the tests. None of their addresses may be recorded unasked.
const (
	alice = "alice@sender.example"
	bob   = "bob@recipient.example"
	carol = "carol@recipient.example"
)

// observed is what an interceptor has reported.
type observed struct {
	t      testing.TB
	spans  *tracetest.SpanRecorder
	tracer *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
	meter  *sdkmetric.MeterProvider

	tel core.Interceptor
}

// observe makes an interceptor that reports to the test.
func observe(t testing.TB, options ...telemetry.Option) *observed {
	t.Helper()
	o := &observed{t: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	o.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(o.spans))
	o.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.reader), sdkmetric.WithExemplarFilter(exemplar.TraceBasedFilter))
	options = append(options, telemetry.WithTracerProvider(o.tracer), telemetry.WithMeterProvider(o.meter))
	tel, err := telemetry.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	o.tel = tel
	return o
}

// client returns a client whose outermost interceptor is the observed one.
func (o *observed) client(address string, change ...func(*core.Config)) *core.Client {
	o.t.Helper()
	return newClient(o.t, address, append([]func(*core.Config){interceptors(o.tel)}, change...)...)
}

func newClient(t testing.TB, address string, change ...func(*core.Config)) *core.Client {
	t.Helper()
	config := core.Config{Endpoint: "smtp://" + address, Transports: transport.Standard(), LocalName: "client.example"}
	for _, c := range change {
		c(&config)
	}
	client, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// interceptors adds interceptors inside those that are there.
func interceptors(list ...core.Interceptor) func(*core.Config) {
	return func(c *core.Config) { c.Interceptors = append(c.Interceptors, list...) }
}

// again is the simplest retry: one more try if the first was not all.
func again() core.Interceptor {
	return core.Interceptor{Name: "again", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if next(ctx, d) == nil {
				return nil
			}
			return next(ctx, d)
		}
	}}
}

// letter returns a message of 27 octets to the recipients.
func letter(to ...string) *core.Message {
	return &core.Message{From: alice, To: core.Recipients(to...), Body: core.String("Subject: secret plan\r\n\r\nx\r\n")}
}

// send sends a message with a generous watchdog.
func send(t testing.TB, c *core.Client, m *core.Message) (*core.Receipt, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return c.Send(ctx, m)
}

// named returns the ended spans of a name, in the order of their end.
func (o *observed) named(name string) []sdktrace.ReadOnlySpan {
	var list []sdktrace.ReadOnlySpan
	for _, s := range o.spans.Ended() {
		if s.Name() == name {
			list = append(list, s)
		}
	}
	return list
}

// one returns the only span of a name.
func (o *observed) one(name string) sdktrace.ReadOnlySpan {
	o.t.Helper()
	list := o.named(name)
	if len(list) != 1 {
		o.t.Fatalf("there are %d spans %q, want 1", len(list), name)
	}
	return list[0]
}

// metrics returns what was measured, by name.
func (o *observed) metrics() map[string]metricdata.Metrics {
	o.t.Helper()
	var all metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &all); err != nil {
		o.t.Fatal(err)
	}
	byName := make(map[string]metricdata.Metrics)
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != telemetry.ScopeName {
			o.t.Errorf("metrics of scope %q, want %q", scope.Scope.Name, telemetry.ScopeName)
		}
		for _, m := range scope.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// dump returns everything that was reported, in every form in which an exporter
// could see it.
func (o *observed) dump() string {
	o.t.Helper()
	stubs := tracetest.SpanStubsFromReadOnlySpans(o.spans.Ended())
	var all metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &all); err != nil {
		o.t.Fatal(err)
	}
	spans, err := json.Marshal(stubs)
	if err != nil {
		o.t.Fatal(err)
	}
	metrics, err := json.Marshal(all)
	if err != nil {
		o.t.Fatal(err)
	}
	return fmt.Sprintf("%s\n%s\n%+v\n%+v", spans, metrics, stubs, all)
}

// certificate returns the TLS configuration of a server on loopback, and what
// its clients need to trust it.
func certificate(t testing.TB) (server *tls.Config, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

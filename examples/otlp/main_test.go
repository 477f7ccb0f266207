package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	metricservice "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traceservice "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/middleware/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// environment leaves of OpenTelemetry's variables only those that are given.
func environment(t *testing.T, variables map[string]string) {
	t.Helper()
	for _, name := range []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
		"OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, variables[name])
	}
}

// collector takes OTLP over HTTP, as https://opentelemetry.io/docs/specs/otlp has
// it, and keeps it.
type collector struct {
	*httptest.Server
	status int // of its answers

	mu       sync.Mutex
	services []string
	spans    []*traces.Span
	metrics  map[string]*metrics.Metric
}

func startCollector(t *testing.T, status int) *collector {
	c := &collector{status: status, metrics: make(map[string]*metrics.Metric)}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err == nil && r.Method == http.MethodPost {
		err = c.take(r.URL.Path, content)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(c.status)
}

func (c *collector) take(path string, content []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch path {
	case "/v1/traces":
		var request traceservice.ExportTraceServiceRequest
		if err := proto.Unmarshal(content, &request); err != nil {
			return err
		}
		for _, resource := range request.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					c.services = append(c.services, a.Value.GetStringValue())
				}
			}
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	case "/v1/metrics":
		var request metricservice.ExportMetricsServiceRequest
		if err := proto.Unmarshal(content, &request); err != nil {
			return err
		}
		for _, resource := range request.ResourceMetrics {
			for _, scope := range resource.ScopeMetrics {
				for _, m := range scope.Metrics {
					c.metrics[m.Name] = m
				}
			}
		}
	}
	return nil
}

// wantTree checks the picture of the trace.
func wantTree(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
	rest := out
	for _, p := range []string{
		`trace [0-9a-f]{32}`,
		`  take order +0.0 ms .*`,
		`  └─ smtp delivery .*  attempts: 2`,
		`     ├─ smtp connect .*`,
		`     │  ├─ smtp dial .*`,
		`     │  ├─ smtp greeting .*`,
		`     │  ├─ smtp hello .*`,
		`     │  ├─ smtp tls .*  TLS 1.3`,
		`     │  ├─ smtp hello .*`,
		`     │  └─ smtp auth .*  PLAIN, the first that.*`,
		`     │ .*SCRAM-SHA-256 PLAIN; not.*`,
		`     │ .*SCRAM-SHA-256`,
		`     ├─ smtp attempt .*  new session, failed: 450 4.2.0`,
		`     ├─ smtp attempt .*  kept session, queued as`,
		`     │ +[0-9a-f]{16}`,
		`     └─ handle message .*`,
	} {
		at := regexp.MustCompile("(?m)^" + p + "$").FindStringIndex(rest)
		if at == nil {
			t.Errorf("no line %q, or not there, in:\n%s", p, out)
			return
		}
		rest = rest[at[1]:]
	}
}

func TestTheTraceIsDrawnAndNothingIsExportedUnasked(t *testing.T) {
	environment(t, nil)
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	wantTree(t, out.String())
	if !strings.Contains(out.String(), "\nexported: nothing") {
		t.Errorf("it is not said that nothing was exported:\n%s", &out)
	}
}

func TestSpansAndMetricsArriveAtTheCollectorOfTheEnvironment(t *testing.T) {
	c := startCollector(t, http.StatusOK)
	environment(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_SERVICE_NAME": "shop"})
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	wantTree(t, out.String())
	if !strings.Contains(out.String(), "\nexported: traces and metrics\n") {
		t.Errorf("it is not said what was exported:\n%s", &out)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.services) == 0 || c.services[0] != "shop" {
		t.Errorf("the service is %q", c.services)
	}
	byName := make(map[string][]*traces.Span)
	for _, s := range c.spans {
		byName[s.Name] = append(byName[s.Name], s)
		if !bytes.Equal(s.TraceId, c.spans[0].TraceId) {
			t.Errorf("%s is in another trace", s.Name)
		}
	}
	for name, n := range map[string]int{
		"take order": 1, telemetry.SpanDelivery: 1, telemetry.SpanConnect: 1, telemetry.SpanDial: 1, telemetry.SpanGreeting: 1,
		telemetry.SpanHello: 2, telemetry.SpanTLS: 1, telemetry.SpanAuth: 1, telemetry.SpanAttempt: 2, "handle message": 1,
	} {
		if len(byName[name]) != n {
			t.Fatalf("%d spans %q arrived, want %d", len(byName[name]), name, n)
		}
	}
	delivery := byName[telemetry.SpanDelivery][0]
	for _, name := range []string{telemetry.SpanConnect, telemetry.SpanAttempt, "handle message"} {
		if s := byName[name][0]; !bytes.Equal(s.ParentSpanId, delivery.SpanId) {
			t.Errorf("%s is not below the delivery", name)
		}
	}
	for _, s := range byName[telemetry.SpanAttempt] {
		if len(s.Links) != 1 || !bytes.Equal(s.Links[0].SpanId, byName[telemetry.SpanConnect][0].SpanId) {
			t.Errorf("an attempt is not linked to its connection: %v", s.Links)
		}
	}
	for _, name := range []string{
		telemetry.MetricDeliveryDuration, telemetry.MetricDeliveryRecipients, telemetry.MetricDeliveryRetries, telemetry.MetricAttemptDuration,
		telemetry.MetricMessageSize, telemetry.MetricConnectDuration, telemetry.MetricAuthDuration, telemetry.MetricConnections,
		telemetry.MetricConnectionWait, telemetry.MetricLimitWait,
	} {
		if c.metrics[name] == nil {
			t.Errorf("the metric %s did not arrive", name)
		}
	}
	exemplars := c.metrics[telemetry.MetricDeliveryDuration].GetHistogram().GetDataPoints()[0].Exemplars
	if !slices.ContainsFunc(exemplars, func(e *metrics.Exemplar) bool { return bytes.Equal(e.TraceId, delivery.TraceId) }) {
		t.Error("the duration of the delivery leads to no trace")
	}
}

func TestOneSignalCanBeExportedWithoutTheOther(t *testing.T) {
	c := startCollector(t, http.StatusOK)
	environment(t, map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": c.URL + "/v1/metrics"})
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 0 || len(c.metrics) == 0 || !strings.Contains(out.String(), "\nexported: metrics\n") {
		t.Errorf("%d spans and %d metrics arrived:\n%s", len(c.spans), len(c.metrics), &out)
	}
}

func TestACollectorThatRefusesIsAnError(t *testing.T) {
	c := startCollector(t, http.StatusBadRequest)
	environment(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL})
	var out bytes.Buffer
	err := run(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), "not everything was exported") {
		t.Errorf("got %v", err)
	}
	wantTree(t, out.String())
	if strings.Contains(out.String(), "exported:") {
		t.Errorf("it is said that something was exported:\n%s", &out)
	}
}

func TestAnExporterThatDoesNotExistIsAnError(t *testing.T) {
	environment(t, map[string]string{"OTEL_TRACES_EXPORTER": "pigeon"})
	if err := run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "the exporter of traces") {
		t.Errorf("got %v", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// patience is how long the exporters have for what is left at the end.
const patience = 10 * time.Second

// setup is the SDK of OpenTelemetry as this program uses it.
type setup struct {
	tracers  *sdktrace.TracerProvider
	meters   *sdkmetric.MeterProvider
	drawn    *tracetest.InMemoryExporter // what is drawn in the end
	exported []string                    // what is exported: "traces", "metrics"
}

// setUp makes providers as the environment says.
func setUp(ctx context.Context) (*setup, error) {
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("postrider-example")),
		resource.WithFromEnv()) // OTEL_SERVICE_NAME, which has the last word
	if err != nil {
		return nil, err
	}
	s := &setup{drawn: tracetest.NewInMemoryExporter()}
	traces := []sdktrace.TracerProviderOption{sdktrace.WithResource(about), sdktrace.WithSyncer(s.drawn)}
	metrics := []sdkmetric.Option{sdkmetric.WithResource(about)}
	var exporter sdktrace.SpanExporter
	if asked("TRACES") {
		if exporter, err = autoexport.NewSpanExporter(ctx); err != nil {
			return nil, fmt.Errorf("the exporter of traces that the environment asks for: %w", err)
		}
		s.exported = append(s.exported, "traces")
	}
	if asked("METRICS") {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, fmt.Errorf("the exporter of metrics that the environment asks for: %w", err)
		}
		metrics = append(metrics, sdkmetric.WithReader(reader))
		s.exported = append(s.exported, "metrics")
	}
	if exporter != nil {
		traces = append(traces, sdktrace.WithBatcher(exporter)) // from here on it works in the background
	}
	s.tracers = sdktrace.NewTracerProvider(traces...)
	s.meters = sdkmetric.NewMeterProvider(metrics...)
	return s, nil
}

// asked reports whether the environment asks for traces or metrics. By the
// specification OTLP to localhost is what there is if it says nothing: a program
// that runs for ever may leave this out.
func asked(signal string) bool {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT", "OTEL_" + signal + "_EXPORTER"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// stop exports what is left and ends the SDK. The time for that is its own: the
// program's may be over.
func (s *setup) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := errors.Join(s.tracers.ForceFlush(ctx), s.meters.ForceFlush(ctx))
	if err != nil {
		err = fmt.Errorf("not everything was exported: %w", err)
	}
	_ = s.meters.Shutdown(ctx) // what it could say was said
	_ = s.tracers.Shutdown(ctx)
	return err
}

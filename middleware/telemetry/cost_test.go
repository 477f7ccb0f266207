package telemetry_test

import (
	"context"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
)

// setups are what a client's owner may have installed.
var setups = []struct {
	name    string
	options []telemetry.Option // nil: no interceptor at all
}{
	{"without", nil},
	{"noop", []telemetry.Option{telemetry.WithTracerProvider(tracenoop.NewTracerProvider()), telemetry.WithMeterProvider(metricnoop.NewMeterProvider())}},
	{"global", []telemetry.Option{telemetry.WithTracerProvider(nil)}},
	{"metrics", []telemetry.Option{telemetry.WithTracerProvider(tracenoop.NewTracerProvider()), telemetry.WithMeterProvider(measuring())}},
	{"sdk", []telemetry.Option{telemetry.WithTracerProvider(sdktrace.NewTracerProvider()), telemetry.WithMeterProvider(measuring())}},
	{"sdk and exchanges", []telemetry.Option{telemetry.WithExchangeSpans(), telemetry.WithTracerProvider(sdktrace.NewTracerProvider()), telemetry.WithMeterProvider(measuring())}},
}

func measuring() *sdkmetric.MeterProvider {
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
}

// sender returns a function that sends one message on a kept session.
func sender(t testing.TB, options []telemetry.Option) func() {
	var list []core.Interceptor
	if options != nil {
		tel, err := telemetry.New(options...)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, tel)
	}
	client := newClient(t, serve(t, &smtpServer{announce: []string{"PIPELINING"}}), interceptors(list...), func(c *core.Config) {
		c.IdleTimeout = time.Hour
		c.PipelineDepth = 1 // where sessions are shared, any attempt that is wrapped costs two allocations more
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	t.Cleanup(cancel)
	m := letter(bob)
	send := func() {
		if _, err := client.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	send() // opens the session
	return send
}

func TestWithoutAnSDKASendAllocatesAtMostTenTimesMore(t *testing.T) {
	const runs = 200
	without := testing.AllocsPerRun(runs, sender(t, nil))
	for _, s := range setups[1:3] {
		with := testing.AllocsPerRun(runs, sender(t, s.options))
		t.Logf("%s: %.0f allocations, %.0f without telemetry", s.name, with, without)
		if with-without > 10 {
			t.Errorf("%s: telemetry adds %.0f allocations to a Send, want at most 10", s.name, with-without)
		}
	}
}

// BenchmarkSend sends one message on a kept session to a server in the same
// process, whose cost is in the figures: what counts is the difference to
// "without".
func BenchmarkSend(b *testing.B) {
	for _, s := range setups {
		b.Run(s.name, func(b *testing.B) {
			send := sender(b, s.options)
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
		})
	}
}

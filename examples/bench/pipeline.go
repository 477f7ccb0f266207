package main

import (
	"context"
	"crypto/ed25519"
	"io"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dialogue"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/middleware/telemetry"
)

// newPipeline returns all interceptors that there are, the outermost first, as a
// program would have them that uses each for what it is for. All connections
// share them, as those of one client do. The caller calls stop when nothing uses
// them any more.
//
//   - telemetry traces and measures with the SDK, because with the global
//     providers it does next to nothing. What becomes of the spans depends on the
//     exporter, so there is none: they are batched, and dropped.
//   - retry has its defaults, and nothing to do unless the server defers.
//   - ratelimit counts, and its limits are never reached.
//   - dkim signs with Ed25519. A signature by RSA, of 2048 bits, takes about a
//     millisecond more, which would be all there is to see.
//   - dialogue formats every line of the dialogue, and has it thrown away.
func newPipeline() (pipeline []core.Interceptor, stop func(), err error) {
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	stop = func() {
		_ = tracers.Shutdown(context.Background()) // there is nothing to be lost
		_ = meters.Shutdown(context.Background())
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()

	tracing, err := telemetry.New(telemetry.WithTracerProvider(tracers), telemetry.WithMeterProvider(meters))
	if err != nil {
		return nil, nil, err
	}
	again, err := retry.New(retry.Config{})
	if err != nil {
		return nil, nil, err
	}
	unreached := ratelimit.Rate{Count: 1e9, Per: time.Second, Burst: 1e9}
	limit, err := ratelimit.New(ratelimit.Config{Messages: unreached, Recipients: unreached})
	if err != nil {
		return nil, nil, err
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	signature, err := dkim.New(dkim.Config{
		Signatures:     []dkim.Signature{{Domain: domain, Selector: "bench", Signer: key}},
		AllowLongLines: true, // a file is sent as it is
	})
	if err != nil {
		return nil, nil, err
	}
	conversation, err := dialogue.New(dialogue.Config{Writer: io.Discard})
	if err != nil {
		return nil, nil, err
	}
	return []core.Interceptor{tracing, again, limit, signature, conversation}, stop, nil
}

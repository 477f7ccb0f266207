// Otlp follows one message from the program that sends it to the program that
// receives it, in one trace, and exports that trace and the metrics by OTLP.
//
// It is a module of its own, because exporters bring many libraries along:
//
//	cd examples/otlp && go run .
//
// Without anything else it starts a mail server in its own process, which wants
// TLS and a password and puts the message off at first, and draws the trace as a
// tree. The environment variables of OpenTelemetry have it exported too:
//
//	OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 go run .
//
// OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_EXPORTER,
// OTEL_METRICS_EXPORTER, OTEL_SERVICE_NAME and their like mean what they usually do.
//
// What there is to see is in export.go (setting OpenTelemetry up), send.go (the
// client and its pipeline) and inbox.go (the receiver, which finds the trace in
// the message). The rest draws.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.opentelemetry.io/otel/trace"
)

// scope is the instrumentation scope of this program's own spans.
const scope = "github.com/postrider/postrider/examples/otlp"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program where it is
	if err := run(ctx, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "otlp:", err)
		os.Exit(1)
	}
}

// run sends the message, draws the trace and exports what was asked for.
func run(ctx context.Context, stdout io.Writer) error {
	t, err := setUp(ctx)
	if err != nil {
		return err
	}
	sent := work(ctx, t)
	drawn := drawTraces(stdout, t.drawn.GetSpans())
	exported := t.stop()
	if exported == nil {
		where := "nothing\n\nset OTEL_EXPORTER_OTLP_ENDPOINT, to http://localhost:4318 for example"
		if len(t.exported) > 0 {
			where = strings.Join(t.exported, " and ")
		}
		_, err = fmt.Fprintf(stdout, "\nexported: %s\n", where)
	}
	return errors.Join(sent, drawn, exported, err)
}

// work is what a program does in whose course a message is sent: its span is the
// root of the trace.
func work(ctx context.Context, t *setup) error {
	inbox, err := startInbox(t.tracers)
	if err != nil {
		return err
	}
	defer func() { _ = inbox.Close() }()
	ctx, span := t.tracers.Tracer(scope).Start(ctx, "take order", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	return send(ctx, inbox, t)
}

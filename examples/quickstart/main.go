// Quickstart sends one message through a whole pipeline and shows everything
// that happens to it: the pipeline, the dialogue, the spans of its trace, and
// what became of each recipient.
//
// Without flags it needs nothing: it starts a server in its own process, which
// wants TLS, a password and a DKIM signature, and which puts one recipient off
// at first. With -url and the flags that -h lists it sends to a real server.
//
// What there is to see is in job.go (what is sent), pipeline.go (what is done on
// the way) and dialogue.go (an interceptor of its own). The rest draws.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/postrider/postrider/core"
)

// The exit statuses.
const (
	allAccepted  = 0
	failed       = 1 // not all accepted, or not all shown
	badlyInvoked = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program where it is
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fail := func(status int, err error) int {
		_, _ = fmt.Fprintln(stderr, "quickstart:", because(ctx, err))
		return status
	}
	f, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		if _, err := fmt.Fprint(stdout, usage); err != nil {
			return fail(failed, err)
		}
		return allAccepted
	case err != nil:
		return fail(badlyInvoked, err)
	}
	var (
		server *embedded
		j      *job
	)
	if f.url != "" {
		if j, err = f.job(); err != nil {
			return fail(badlyInvoked, err)
		}
	} else {
		if server, err = startEmbedded(); err != nil {
			return fail(failed, err)
		}
		defer server.stop()
		j = server.job()
	}

	// The spans stay in this process, to be drawn at the end.
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	defer func() { _ = provider.Shutdown(context.Background()) }()

	p := newPage(stdout)
	d := newDialogue(p)
	config := j.config
	if config.Interceptors, err = j.interceptors(provider, d); err != nil {
		return fail(badlyInvoked, err)
	}
	client, err := core.NewClient(config)
	if err != nil {
		return fail(badlyInvoked, err)
	}
	defer func() { _ = client.Close() }()

	showJob(p, j, server != nil)
	showPipeline(p, j, client.Pipeline())
	p.section("Dialogue", "C: the client, S: the server; milliseconds since the start")
	receipt, err := client.Send(ctx, j.message)
	_ = client.Close() // now, so that the dialogue has its end
	p.section("Spans", "the trace of this delivery, as OpenTelemetry has it; milliseconds")
	drawSpans(p, spans.GetSpans())
	p.section("Recipients", "what became of each, and the server's reply to every attempt")
	showRecipients(ctx, p, receipt, d.triesOf())
	if server != nil {
		p.section("Server", "what arrived there, and the check of its signature")
		showArrivals(p, server.arrivals())
	}
	showResult(p, receipt)
	incomplete := p.failure()
	switch {
	case err != nil && incomplete != nil:
		return fail(failed, fmt.Errorf("%s; and the output is incomplete: %w", because(ctx, err), incomplete))
	case err != nil:
		return fail(failed, err)
	case incomplete != nil:
		return fail(failed, fmt.Errorf("every recipient was accepted, but the output is incomplete: %w", incomplete))
	}
	return allAccepted
}

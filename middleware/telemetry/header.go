package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// headerField is the name that W3C Trace Context §3.2 gives the header with the
// ids. Its companion "tracestate" is not sent: nobody but the vendors of the
// systems in between knows what is in it.
const headerField = "traceparent"

// content puts the trace in front of the message.
func (t *observer) content(next core.ContentFunc) core.ContentFunc {
	return func(ctx context.Context, c *core.Content) error {
		// The content is kept for the whole delivery, and the attempt that it was
		// made in need not be the one that succeeds.
		of := ctx
		if w := t.workOf(ctx); w != nil {
			of = trace.ContextWithSpan(ctx, w.span)
		}
		fields := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(of, fields)
		if parent := fields[headerField]; parent != "" {
			c.Prepend(headerField + ": " + parent)
		}
		return next(ctx, c)
	}
}

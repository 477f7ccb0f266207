package telemetry

import (
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// New returns the interceptor, named "telemetry". Put it first in
// [core.Config].Interceptors. It may serve several clients, and the owners of
// sessions from [core.Dial], for whom it traces the connecting and, on request,
// the exchanges.
//
// The error says which option cannot work, or which metric the meter provider
// would not make.
func New(opts ...Option) (core.Interceptor, error) {
	o, err := newOptions(opts)
	if err != nil {
		return core.Interceptor{}, err
	}
	m, err := newInstruments(o.meters.Meter(ScopeName, metric.WithSchemaURL(semconv.SchemaURL)))
	if err != nil {
		return core.Interceptor{}, err
	}
	t := &observer{
		tracer:      o.tracers.Tracer(ScopeName, trace.WithSchemaURL(semconv.SchemaURL)),
		instruments: m,
		addresses:   o.addresses,
		header:      o.header,
	}
	i := core.Interceptor{
		Name:     "telemetry",
		Delivery: t.delivery,
		Attempt:  t.attempt,
		Connect:  t.connect,
		Pool:     t.pool,
	}
	if o.exchanges {
		i.Exchange = t.exchange
	}
	if o.header {
		i.Content = t.content
	}
	return i, nil
}

// observer is one interceptor. Its address is the key of what it keeps with a
// session and in a context, so that two of them do not mistake each other's.
type observer struct {
	tracer trace.Tracer
	*instruments
	servers
	addresses func(string) string // what is recorded of one; nil: nothing
	header    bool                // content gets a field with the trace
}

package telemetry

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Option changes what [New] does by default.
type Option interface{ apply(*options) }

type options struct {
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
	addresses bool
	exchanges bool
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// WithTracerProvider has spans made by a provider of the caller's. Without it,
// or with nil, that is the global one.
func WithTracerProvider(p trace.TracerProvider) Option {
	return optionFunc(func(o *options) {
		if p != nil {
			o.tracers = p
		}
	})
}

// WithMeterProvider has metrics made by a provider of the caller's. Without it,
// or with nil, that is the global one.
func WithMeterProvider(p metric.MeterProvider) Option {
	return optionFunc(func(o *options) {
		if p != nil {
			o.meters = p
		}
	})
}

// WithAddresses records the sender's and the recipients' addresses on spans, as
// they are. They are personal data: ask whoever is responsible for that where
// the traces are kept. Metrics never have them.
func WithAddresses() Option { return optionFunc(func(o *options) { o.addresses = true }) }

// WithExchangeSpans makes a span for each exchange of commands and replies: the
// verbs and the reply codes, nothing else. It costs a few spans a message, and
// is meant for finding out where the time goes. An exchange outside of any
// other span, as the QUIT with which a client closes, has none.
func WithExchangeSpans() Option { return optionFunc(func(o *options) { o.exchanges = true }) }

func newOptions(list []Option) *options {
	o := &options{}
	for _, option := range list {
		if option != nil {
			option.apply(o)
		}
	}
	if o.tracers == nil {
		o.tracers = otel.GetTracerProvider()
	}
	if o.meters == nil {
		o.meters = otel.GetMeterProvider()
	}
	return o
}

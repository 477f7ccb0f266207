package telemetry

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// Option changes what [New] does by default.
type Option interface{ apply(*options) }

type options struct {
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
	addresses func(string) string // what is recorded of one; nil: nothing
	exchanges bool
	header    bool
	err       error // of an option that cannot work
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
// the traces are kept. Metrics never have them. Of this option and
// [WithHashedAddresses] the last one counts.
func WithAddresses() Option {
	return optionFunc(func(o *options) { o.addresses = func(address string) string { return address } })
}

// WithHashedAddresses records on spans what [HashAddress] makes of the addresses,
// in their place: enough to see that two deliveries were to the same recipient,
// and to find those to a recipient who is known. Whoever has the spans and not
// the key cannot try out addresses. Give all programs whose traces are kept
// together the same key; a new key makes old hashes useless.
//
// With a key of fewer than 32 octets [New] returns an error: RFC 2104 §3
// discourages keys shorter than the hash.
func WithHashedAddresses(key []byte) Option {
	if len(key) < sha256.Size {
		return optionFunc(func(o *options) {
			o.err = fmt.Errorf("WithHashedAddresses has a key of %d octets: give it %d from crypto/rand, and keep them", len(key), sha256.Size)
		})
	}
	key = bytes.Clone(key)
	return optionFunc(func(o *options) { o.addresses = func(address string) string { return HashAddress(key, address) } })
}

// WithExchangeSpans makes a span for each exchange of commands and replies: the
// verbs and the reply codes, nothing else. It costs a few spans a message, and
// is meant for finding out where the time goes. An exchange outside of any
// other span, as the QUIT with which a client closes, has none.
func WithExchangeSpans() Option { return optionFunc(func(o *options) { o.exchanges = true }) }

// WithTraceHeader puts a header field "traceparent" in front of each message
// (W3C Trace Context §3.2), so that whoever receives it can continue the trace. It
// names the span of the delivery, and is the same in all attempts. There is none
// if there is neither an SDK nor a span of the caller's.
//
// Every recipient sees the ids of the trace and of the span, and whether it is
// sampled: use it where the recipients are your own systems. With it the
// interceptor changes content, and is refused behind a signer.
func WithTraceHeader() Option { return optionFunc(func(o *options) { o.header = true }) }

func newOptions(list []Option) (*options, error) {
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
	if o.err != nil {
		return nil, configError(o.err)
	}
	return o, nil
}

// configError is the error of a configuration that cannot work.
func configError(err error) error {
	return &core.Error{Stage: core.StageConfig, Class: core.Local, Err: fmt.Errorf("telemetry: %w", err)}
}

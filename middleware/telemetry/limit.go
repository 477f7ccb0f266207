package telemetry

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/postrider/postrider/core"
)

// LimitWait returns an interceptor that does what limit does, and measures how
// long it holds deliveries up: from when it is called until it calls the next, or
// returns because it will not. It is meant for middleware/ratelimit and others that
// let messages wait; it works with any that wraps deliveries. Put it in the place
// of limit.
//
// Of the options [WithMeterProvider] counts. The error says that limit does not
// wrap deliveries, or that the meter provider would not make the metric.
func LimitWait(limit core.Interceptor, opts ...Option) (core.Interceptor, error) {
	o, err := newOptions(opts)
	if err != nil {
		return core.Interceptor{}, err
	}
	if limit.Delivery == nil {
		return core.Interceptor{}, configError(fmt.Errorf("LimitWait: the interceptor %q does not wrap deliveries, so none waits in it", limit.Name))
	}
	w := &limitWait{servers: servers{more: []attribute.KeyValue{LimitNameKey.String(limit.Name)}}}
	w.histogram, err = seconds(o.meters.Meter(ScopeName, metric.WithSchemaURL(semconv.SchemaURL)),
		MetricLimitWait, "Time that tries of messages have waited for a limit.", attemptSeconds())
	if err != nil {
		return core.Interceptor{}, refusedMetric(err)
	}
	limit.Delivery = w.around(limit.Delivery)
	return limit, nil
}

// limitWait measures one interceptor. Its address is the key of what it keeps in
// a context.
type limitWait struct {
	servers
	histogram metric.Float64Histogram
}

// around measures the time between the two ends of what an interceptor does
// before it calls the next.
func (w *limitWait) around(limit func(core.DeliverFunc) core.DeliverFunc) func(core.DeliverFunc) core.DeliverFunc {
	return func(next core.DeliverFunc) core.DeliverFunc {
		limited := limit(func(ctx context.Context, d *core.Delivery) error {
			if h, ok := ctx.Value(w).(*hold); ok {
				w.end(ctx, h, d, nil)
			}
			return next(ctx, d)
		})
		if limited == nil {
			return nil // the core says whose fault that is
		}
		return func(ctx context.Context, d *core.Delivery) (err error) {
			if !w.histogram.Enabled(ctx) {
				return limited(ctx, d)
			}
			h := &hold{begun: time.Now()}
			err = errAborted // unless limited returns
			defer func() { w.end(ctx, h, d, err) }()
			return limited(context.WithValue(ctx, w, h), d)
		}
	}
}

// hold is one stay in the interceptor.
type hold struct {
	begun time.Time
	ended atomic.Bool
}

// end measures a stay, the first time.
func (w *limitWait) end(ctx context.Context, h *hold, d *core.Delivery, err error) {
	if h.ended.Swap(true) {
		return
	}
	kind := ""
	if err != nil {
		kind = explain(err, core.StagePolicy).kind
	}
	w.serverOf(d.Endpoint()).measure(ctx, w.histogram, time.Since(h.begun), kind)
}

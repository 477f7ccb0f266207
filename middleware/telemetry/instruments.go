package telemetry

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// instruments is what an observer measures with.
type instruments struct {
	deliveryDuration metric.Float64Histogram
	recipients       metric.Int64Counter
	retries          metric.Int64Counter
	attemptDuration  metric.Float64Histogram
	messageSize      metric.Int64Histogram
	connectDuration  metric.Float64Histogram
	authDuration     metric.Float64Histogram
	connections      metric.Int64UpDownCounter
	connectionWait   metric.Float64Histogram
}

// Bucket boundaries, unless a view of the SDK says otherwise: those that
// OpenTelemetry has by default are meant for milliseconds. RFC 5321 §4.5.3.2 lets
// a server take ten minutes for its last reply, and a delivery may be tried again
// after that.
func stepSeconds() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
}
func attemptSeconds() []float64  { return append(stepSeconds(), 600) }
func deliverySeconds() []float64 { return append(attemptSeconds(), 1800, 3600) }

// seconds makes a histogram of durations.
func seconds(meter metric.Meter, name, description string, bounds []float64) (metric.Float64Histogram, error) {
	return meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
}

func newInstruments(meter metric.Meter) (*instruments, error) {
	// From a short text to what the largest providers take.
	messageBytes := []float64{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 10 << 20, 25 << 20, 50 << 20, 100 << 20}

	var (
		m    instruments
		errs [9]error
	)
	m.deliveryDuration, errs[0] = seconds(meter, MetricDeliveryDuration, "Duration of deliveries, with their retries.", deliverySeconds())
	m.recipients, errs[1] = meter.Int64Counter(MetricDeliveryRecipients, metric.WithUnit("{recipient}"),
		metric.WithDescription("Recipients of finished deliveries, by outcome."))
	m.retries, errs[2] = meter.Int64Counter(MetricDeliveryRetries, metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts for recipients who had been tried before."))
	m.attemptDuration, errs[3] = seconds(meter, MetricAttemptDuration, "Duration of attempts: one transaction each.", attemptSeconds())
	m.messageSize, errs[4] = meter.Int64Histogram(MetricMessageSize, metric.WithUnit("By"),
		metric.WithDescription("Size of the content of deliveries that came to an attempt."), metric.WithExplicitBucketBoundaries(messageBytes...))
	m.connectDuration, errs[5] = seconds(meter, MetricConnectDuration, "Duration of opening sessions.", stepSeconds())
	m.authDuration, errs[6] = seconds(meter, MetricAuthDuration, "Duration of authentications.", stepSeconds())
	m.connections, errs[7] = meter.Int64UpDownCounter(MetricConnections, metric.WithUnit("{connection}"),
		metric.WithDescription("Connections that are open, by what they are doing."))
	m.connectionWait, errs[8] = seconds(meter, MetricConnectionWait, "Time that messages have waited for a connection.", stepSeconds())
	if err := errors.Join(errs[:]...); err != nil {
		return nil, refusedMetric(err)
	}
	return &m, nil
}

func refusedMetric(err error) error {
	return configError(fmt.Errorf("the meter provider refused a metric: %w", err))
}

// measuresDeliveries reports whether anybody wants to know what a delivery is
// measured for.
func (m *instruments) measuresDeliveries(ctx context.Context) bool {
	return m.deliveryDuration.Enabled(ctx) || m.recipients.Enabled(ctx) || m.messageSize.Enabled(ctx)
}

// labels is the attributes of a measurement, ready for use.
type labels struct {
	record []metric.RecordOption
	add    []metric.AddOption
}

// newLabels returns the labels that have the attributes of base and more.
func newLabels(base []attribute.KeyValue, more ...attribute.KeyValue) labels {
	set := metric.WithAttributeSet(attribute.NewSet(append(base[:len(base):len(base)], more...)...))
	return labels{record: []metric.RecordOption{set}, add: []metric.AddOption{set}}
}

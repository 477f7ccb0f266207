package telemetry_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/middleware/telemetry"
	"github.com/postrider/postrider/transport"
)

// measured returns limit with its waits measured.
func (o *observed) measured(limit core.Interceptor) core.Interceptor {
	o.t.Helper()
	limit, err := telemetry.LimitWait(limit, telemetry.WithMeterProvider(o.meter))
	if err != nil {
		o.t.Fatal(err)
	}
	return limit
}

// wantWaits checks how many messages waited for how long in all, by error.type.
func (o *observed) wantWaits(limit string, want map[string]metricdata.HistogramDataPoint[float64]) {
	o.t.Helper()
	m := o.metrics()[telemetry.MetricLimitWait]
	data, _ := m.Data.(metricdata.Histogram[float64])
	if len(data.DataPoints) != len(want) || m.Unit != "s" {
		o.t.Errorf("there are %d, in %q, want %d in seconds", len(data.DataPoints), m.Unit, len(want))
	}
	for _, p := range data.DataPoints {
		kind, _ := p.Attributes.Value("error.type")
		w := want[kind.AsString()]
		if name, _ := p.Attributes.Value("postrider.limit.name"); name.AsString() != limit || p.Count != w.Count || p.Sum != w.Sum {
			o.t.Errorf("error.type %q: %d waited %v s in %q, want %d and %v s", kind.AsString(), p.Count, p.Sum, name.AsString(), w.Count, w.Sum)
		}
	}
}

// waited is a number of waits, and the seconds that they took.
func waited(count uint64, seconds float64) metricdata.HistogramDataPoint[float64] {
	return metricdata.HistogramDataPoint[float64]{Count: count, Sum: seconds}
}

// goal stands in the place of the server: it takes three seconds.
func goal() core.Interceptor {
	return core.Interceptor{Name: "goal", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, _ *core.Delivery) error {
			timer := time.NewTimer(3 * time.Second)
			defer timer.Stop()
			<-timer.C
			return errors.New("arrived")
		}
	}}
}

func TestTheTimeThatALimitHoldsMessagesUpIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observe(t)
		limit, err := ratelimit.New(ratelimit.Config{Messages: ratelimit.Rate{Count: 1, Per: 10 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		client := newClient(t, "127.0.0.1:25", interceptors(o.tel, o.measured(limit), goal()))
		for range 2 {
			_, _ = send(t, client, letter(bob)) // the second waits for what is left of ten seconds
		}
		hurry, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.Send(hurry, letter(bob)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want no time for the wait", err)
		}
		o.wantWaits("ratelimit", map[string]metricdata.HistogramDataPoint[float64]{"": waited(2, 7), "timeout": waited(1, 0)})
	})
}

func TestEveryTryThatWaitsIsMeasuredOnce(t *testing.T) {
	o := observe(t)
	passes := core.Interceptor{Name: "passes", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if err := next(ctx, d); err != nil {
				return next(ctx, d) // a wait has one end
			}
			return nil
		}
	}}
	server := &smtpServer{answer: func(line string) string {
		if strings.HasPrefix(line, "RCPT") {
			return "451 4.7.1 later"
		}
		return usual
	}}
	_, _ = send(t, o.client(serve(t, server), interceptors(again(), o.measured(passes))), letter(bob))
	points := o.metrics()[telemetry.MetricLimitWait].Data.(metricdata.Histogram[float64]).DataPoints
	if len(points) != 1 || points[0].Count != 2 || len(o.named(telemetry.SpanAttempt)) != 4 {
		t.Errorf("there are %v, want 2 waits of 2 tries", points)
	}
	if id := trace.SpanID(points[0].Exemplars[0].SpanID); id != o.one(telemetry.SpanDelivery).SpanContext().SpanID() {
		t.Error("the exemplar is not the delivery")
	}
}

func TestALimitThatPanicsIsMeasuredAndNamed(t *testing.T) {
	o := observe(t)
	limit := core.Interceptor{Name: "limit", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(context.Context, *core.Delivery) error { panic("boom") }
	}}
	_, err := send(t, o.client("127.0.0.1:25", interceptors(o.measured(limit))), letter(bob))
	if p, ok := errors.AsType[*core.PanicError](err); !ok || !strings.Contains(p.Where, `"limit"`) {
		t.Errorf("got %v, want the panic of the limit", err)
	}
	points := o.metrics()[telemetry.MetricLimitWait].Data.(metricdata.Histogram[float64]).DataPoints
	if kind, _ := points[0].Attributes.Value("error.type"); len(points) != 1 || kind.AsString() != "panic" {
		t.Errorf("error.type is %q", kind.AsString())
	}
}

func TestNoWaitCanBeMeasuredInAnInterceptorThatWrapsNoDelivery(t *testing.T) {
	_, err := telemetry.LimitWait(core.Interceptor{Name: "audit"})
	if e, ok := errors.AsType[*core.Error](err); !ok || e.Stage != core.StageConfig || !strings.Contains(err.Error(), `"audit"`) {
		t.Errorf("got %v", err)
	}
	limit := core.Interceptor{Name: "limit", Delivery: func(core.DeliverFunc) core.DeliverFunc { return nil }}
	o := observe(t)
	_, err = core.NewClient(core.Config{Endpoint: "smtp://127.0.0.1:25", Transports: transport.Standard(), Interceptors: []core.Interceptor{o.measured(limit)}})
	if err == nil || !strings.Contains(err.Error(), `"limit"`) {
		t.Errorf("got %v", err)
	}
	if _, err = telemetry.LimitWait(again(), telemetry.WithMeterProvider(brokenMeters{})); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v, want the provider's error", err)
	}
}

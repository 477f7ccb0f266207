package telemetry_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/breaker"
	"github.com/postrider/postrider/middleware/telemetry"
)

// A delivery that fails over is about the server that took it; the connection
// that failed is about the other one.
func TestADeliveryIsAboutTheEndpointThatTookIt(t *testing.T) {
	o := observe(t)
	address := serve(t, &smtpServer{})
	_, port, _ := strings.Cut(address, ":")
	client := o.client(address, resting(t), func(c *core.Config) {
		c.Endpoint, c.Endpoints = "", []string{"smtp://localhost:1", "smtp://" + address}
	})
	if _, err := client.Send(t.Context(), letter(bob)); err != nil {
		t.Fatal(err)
	}
	if got := portOf(o.one(telemetry.SpanDelivery).Attributes()); got != port {
		t.Errorf("the delivery is about port %s, want %s", got, port)
	}
	connects := o.named(telemetry.SpanConnect)
	if len(connects) != 2 || portOf(connects[0].Attributes()) != "1" || portOf(connects[1].Attributes()) != port {
		t.Errorf("the connections are %v", connects)
	}
}

// An attempt whose kept session turns out dead can go on with another server.
func TestAnAttemptIsAboutTheEndpointThatItEndedWith(t *testing.T) {
	o := observe(t)
	dead, other := serve(t, &smtpServer{answer: nth(2, "MAIL", hangUp)}), serve(t, &smtpServer{})
	_, port, _ := strings.Cut(other, ":")
	client := o.client(dead, resting(t), func(c *core.Config) {
		c.Endpoint, c.Endpoints = "", []string{"smtp://" + dead, "smtp://" + other}
		c.Transports[0] = &opensOnce{Transport: c.Transports[0], address: dead}
	})
	for range 2 {
		if _, err := send(t, client, letter(bob)); err != nil {
			t.Fatal(err)
		}
	}
	attempts, deliveries := o.named(telemetry.SpanAttempt), o.named(telemetry.SpanDelivery)
	for _, s := range []sdktrace.ReadOnlySpan{attempts[1], deliveries[1]} {
		if got := portOf(s.Attributes()); got != port {
			t.Errorf("%s is about port %s, want %s", s.Name(), got, port)
		}
	}
	wantDurations(t, o.metrics()[telemetry.MetricAttemptDuration], map[attribute.Set]uint64{labelled(t, dead): 1, labelled(t, other): 1})
}

// resting adds the breaker that several endpoints need.
func resting(t *testing.T) func(*core.Config) {
	t.Helper()
	rest, err := breaker.New(breaker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return interceptors(rest)
}

func portOf(attrs []attribute.KeyValue) string {
	set := attribute.NewSet(attrs...)
	v, _ := set.Value("server.port")
	return v.String()
}

// opensOnce is a transport that opens one stream to an address, and no other.
type opensOnce struct {
	core.Transport
	address string
	opened  atomic.Bool
}

func (o *opensOnce) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	if e.Address == o.address && o.opened.Swap(true) {
		return nil, errors.New("it is gone")
	}
	return o.Transport.Dial(ctx, e)
}

package telemetry_test

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

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
	rest, err := breaker.New(breaker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	client := o.client(address, interceptors(rest), func(c *core.Config) {
		c.Endpoint, c.Endpoints = "", []string{"smtp://localhost:1", "smtp://" + address}
	})
	if _, err := client.Send(t.Context(), letter(bob)); err != nil {
		t.Fatal(err)
	}
	portOf := func(attrs []attribute.KeyValue) string {
		set := attribute.NewSet(attrs...)
		v, _ := set.Value("server.port")
		return v.Emit()
	}
	if got := portOf(o.one(telemetry.SpanDelivery).Attributes()); got != port {
		t.Errorf("the delivery is about port %s, want %s", got, port)
	}
	connects := o.named(telemetry.SpanConnect)
	if len(connects) != 2 || portOf(connects[0].Attributes()) != "1" || portOf(connects[1].Attributes()) != port {
		t.Errorf("the connections are %v", connects)
	}
}

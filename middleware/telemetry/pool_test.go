package telemetry_test

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/postrider/postrider/middleware/telemetry"
)

func TestConnectionsAreCountedByWhatTheyAreDoing(t *testing.T) {
	state := func(s string) attribute.KeyValue { return attribute.String("postrider.connection.state", s) }
	o := observe(t)
	address := serve(t, &smtpServer{})
	client := o.client(address)
	count := func(idle, used int64) {
		t.Helper()
		data, ok := o.metrics()[telemetry.MetricConnections].Data.(metricdata.Sum[int64])
		if !ok {
			t.Fatal("they are not counted")
		}
		got := make(map[attribute.Set]int64)
		for _, p := range data.DataPoints {
			got[p.Attributes] = p.Value
		}
		if got[labelled(t, address, state("idle"))] != idle || got[labelled(t, address, state("used"))] != used {
			t.Errorf("got %v, want %d idle and %d used", got, idle, used)
		}
	}
	_, _ = send(t, client, letter(bob))
	count(1, 0)
	_, _ = send(t, client, letter(bob))
	count(1, 0)
	wantDurations(t, o.metrics()[telemetry.MetricConnectionWait], map[attribute.Set]uint64{labelled(t, address): 1})
	_ = client.Close()
	count(0, 0)
}

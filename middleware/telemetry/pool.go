package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	"github.com/postrider/postrider/core"
)

// pool counts sessions by what they are doing, and measures how long messages
// wait for one.
func (t *observer) pool(e core.PoolEvent) {
	s := t.serverOf(e.Endpoint)
	switch e.Kind {
	case core.SessionOpened:
		t.count(s.idle, 1)
	case core.SessionTaken:
		t.count(s.idle, -1)
		t.count(s.used, 1)
	case core.SessionReturned:
		t.count(s.used, -1)
		t.count(s.idle, 1)
	case core.SessionEnded:
		t.count(s.idle, -1)
	case core.MessageWaited:
		kind := ""
		if e.Err != nil {
			kind = explain(e.Err, core.StageConnect).kind
		}
		s.measure(context.Background(), t.connectionWait, e.Waited, kind)
	}
}

func (t *observer) count(of []metric.AddOption, n int64) {
	t.connections.Add(context.Background(), n, of...)
}

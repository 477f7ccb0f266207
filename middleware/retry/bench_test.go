package retry_test

import (
	"context"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
)

// BenchmarkSend shows what the interceptor adds to a Send that needs no retry:
// the difference between the two. Nothing is sent, so the rest is small.
func BenchmarkSend(b *testing.B) {
	accept := core.Interceptor{Name: "stub", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(_ context.Context, d *core.Delivery) error { return errStub }
	}}
	for _, bb := range []struct {
		name         string
		interceptors []core.Interceptor
	}{
		{"without", []core.Interceptor{accept}},
		{"with", []core.Interceptor{mustNew(b, retry.Config{}), accept}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			client := newClient(b, core.Config{Endpoint: "pipe://mx.example", Transports: []core.Transport{pipes{}}, Interceptors: bb.interceptors})
			m := &core.Message{From: "me@example.com", To: core.Recipients("a@example.net"), Body: core.String(content)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Send(b.Context(), m); err == nil {
					b.Fatal("no error")
				}
			}
		})
	}
}

var errStub = &core.Error{Stage: core.StagePolicy, Class: core.Permanent}

package ratelimit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
)

// BenchmarkSend shows what the interceptor adds to a Send that is within the
// limits: the difference to "without". Nothing is sent, so the rest is small.
func BenchmarkSend(b *testing.B) {
	goal := core.Interceptor{Name: "stub", Delivery: func(core.DeliverFunc) core.DeliverFunc { return stub }}
	plenty := ratelimit.Rate{Count: 1e9, Per: time.Second, Burst: 1e9}
	froms := make([]string, 1024)
	for i := range froms {
		froms[i] = fmt.Sprintf("s%d@example.com", i)
	}
	for _, bb := range []struct {
		name         string
		interceptors []core.Interceptor
	}{
		{"without", []core.Interceptor{goal}},
		{"one limit", []core.Interceptor{mustNew(b, ratelimit.Config{Messages: plenty}), goal}},
		{"two limits", []core.Interceptor{mustNew(b, ratelimit.Config{Messages: plenty, Recipients: plenty}), goal}},
		{"two limits for each of 1024 senders", []core.Interceptor{mustNew(b, ratelimit.Config{Messages: plenty, Recipients: plenty, Key: ratelimit.BySender}), goal}},
		{"everything, adaptive", []core.Interceptor{mustNew(b, ratelimit.Config{Messages: plenty, Recipients: plenty, Bytes: plenty, Concurrent: 10, Adaptive: true}), goal}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			client := newClient(b, bb.interceptors...)
			m := message("", 1)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				m.From = froms[n%len(froms)]
				n++
				if _, err := client.Send(b.Context(), m); err == nil {
					b.Fatal("no error")
				}
			}
		})
	}
}

func stub(context.Context, *core.Delivery) error { return errStub }

var errStub = &core.Error{Stage: core.StagePolicy, Class: core.Permanent}

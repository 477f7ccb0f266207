package logging_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/logging"
)

// benchmarks are what a client's owner may have set up. The handlers throw all
// records away.
func benchmarks(b *testing.B) []struct {
	name string
	list []core.Interceptor
} {
	with := func(level slog.Level) []core.Interceptor {
		return []core.Interceptor{mustNew(b, logging.Config{Logger: slog.New(from{slog.DiscardHandler, level})})}
	}
	return []struct {
		name string
		list []core.Interceptor
	}{
		{"without", nil},
		{"disabled", with(slog.LevelError + 1)},
		{"at info", with(slog.LevelInfo)},
		{"at debug", with(slog.LevelDebug)},
	}
}

// from is a handler that takes records from a level on.
type from struct {
	slog.Handler
	level slog.Level
}

func (f from) Enabled(_ context.Context, level slog.Level) bool { return level >= f.level }

// BenchmarkDelivery shows what the interceptor adds to a Send that is refused on
// this side: the difference to "without". Nothing is sent, so the rest is small.
func BenchmarkDelivery(b *testing.B) {
	stub := core.Interceptor{Name: "stub", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(context.Context, *core.Delivery) error { return errStub }
	}}
	config := smtptest.NewServer(b, smtptest.ServerOptions{}).Config()
	for _, bb := range benchmarks(b) {
		b.Run(bb.name, func(b *testing.B) {
			benchmark(b, newClient(b, config, append(bb.list, stub)...), true)
		})
	}
}

var errStub = &core.Error{Stage: core.StagePolicy, Class: core.Permanent}

// BenchmarkSend sends on a kept session to a server in the same process, whose
// cost is in the figures: what counts is the difference to "without".
func BenchmarkSend(b *testing.B) {
	config := smtptest.NewServer(b, smtptest.ServerOptions{}).Config()
	config.PipelineDepth = 1
	for _, bb := range benchmarks(b) {
		b.Run(bb.name, func(b *testing.B) { benchmark(b, newClient(b, config, bb.list...), false) })
	}
}

func benchmark(b *testing.B, client *core.Client, fails bool) {
	m := letter(bob)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Send(b.Context(), m); err != nil != fails {
			b.Fatal(err)
		}
	}
}

package breaker_test

import (
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/breaker"
)

// BenchmarkState is what a breaker costs a message: it is asked once how its
// endpoint is.
func BenchmarkState(b *testing.B) {
	i, err := breaker.New(breaker.Config{})
	if err != nil {
		b.Fatal(err)
	}
	circuit := i.Breaker(core.Endpoint{URL: "smtp://host"})
	b.ReportAllocs()
	for b.Loop() {
		if circuit.State() != core.BreakerClosed {
			b.Fatal("it is not closed")
		}
	}
}

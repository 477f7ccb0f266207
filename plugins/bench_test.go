//go:build unix

package plugins_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// A challenge and its response, without what SMTP costs.
func BenchmarkStep(b *testing.B) {
	m := benchmarked(b)
	a, _, err := m.Start(b.Context(), &core.Peer{ServerName: "server.example"})
	if err != nil {
		b.Fatal(err)
	}
	challenge := []byte("a challenge of usual length, as SCRAM has it, r=fyko+d2lbbFgONRv9qkxdawL,i=4096")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Next(b.Context(), challenge); err != nil {
			b.Fatal(err)
		}
	}
}

// A whole AUTH of one step: Start, Done, and the stream for them.
func BenchmarkAuthentication(b *testing.B) {
	m := benchmarked(b)
	b.ReportAllocs()
	for b.Loop() {
		a, _, err := m.Start(b.Context(), &core.Peer{ServerName: "server.example"})
		if err != nil {
			b.Fatal(err)
		}
		if err := a.Done(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// A signature of Ed25519 over a digest, with the key in the plugin.
func BenchmarkSign(b *testing.B) {
	p := startBenchmarked(b)
	key, err := p.Signer("key")
	if err != nil {
		b.Fatal(err)
	}
	digest := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.Sign(nil, digest, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// Verify, copy, start, connect, and end.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		p, err := plugins.Start(b.Context(), declared(b))
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarked(b *testing.B) core.Mechanism {
	b.Helper()
	m, err := startBenchmarked(b).Mechanism("X-TEST")
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func startBenchmarked(b *testing.B) *plugins.Plugin {
	b.Helper()
	p, err := plugins.Start(b.Context(), declared(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

func declared(b *testing.B) plugins.Config {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return plugins.Config{Path: self, Env: []string{modeVariable + "=well"}, Log: slog.New(slog.DiscardHandler)}
}

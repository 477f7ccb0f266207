//go:build unix

package plugins_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/transport"
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

// Octets through a transport, 64 KiB at a time, as DATA has them.
func BenchmarkTransport(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	p := startBenchmarked(b)
	tunnel, err := p.Transport("test+tunnel")
	if err != nil {
		b.Fatal(err)
	}
	plain := &net.Dialer{}
	for name, dial := range map[string]func(ctx context.Context) (net.Conn, error){
		"plugin": func(ctx context.Context) (net.Conn, error) {
			return tunnel.Dial(ctx, core.Endpoint{URL: "test+tunnel://" + listener.Addr().String(), Network: "tcp", Address: listener.Addr().String()})
		},
		"TCP": func(ctx context.Context) (net.Conn, error) {
			return plain.DialContext(ctx, "tcp", listener.Addr().String())
		},
	} {
		near, err := dial(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		far, err := listener.Accept()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/sent", func(b *testing.B) { carry(b, near, far) })
		b.Run(name+"/received", func(b *testing.B) { carry(b, far, near) })
		b.Run(name+"/round trip", func(b *testing.B) { exchange(b, near, far) })
		_ = near.Close()
		_ = far.Close()
	}
}

// carry has octets written at one end and read at the other.
func carry(b *testing.B, from, to net.Conn) {
	octets := make([]byte, 64<<10)
	b.SetBytes(int64(len(octets)))
	b.ReportAllocs()
	var read sync.WaitGroup
	all := b.N
	read.Go(func() {
		if _, err := io.CopyN(io.Discard, to, int64(all)*int64(len(octets))); err != nil {
			b.Error(err)
		}
	})
	for range all {
		if _, err := from.Write(octets); err != nil {
			b.Fatal(err)
		}
	}
	read.Wait()
}

// exchange has a command and a reply cross.
func exchange(b *testing.B, near, far net.Conn) {
	var answered sync.WaitGroup
	all := b.N
	b.ReportAllocs()
	answered.Go(func() {
		line := make([]byte, 14)
		for range all {
			if _, err := io.ReadFull(far, line); err != nil {
				b.Error(err)
				return
			}
			if _, err := far.Write(line); err != nil {
				b.Error(err)
				return
			}
		}
	})
	line := []byte("250 2.0.0 OK\r\n")
	for range all {
		if _, err := near.Write(line); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(near, line); err != nil {
			b.Fatal(err)
		}
	}
	answered.Wait()
}

// A delivery over a session that is there, without an interceptor, with one that
// admits, and with one that hears of the results too.
func BenchmarkDelivery(b *testing.B) {
	config := declared(b)
	config.Env = []string{modeVariable + "=quiet"}
	p, err := plugins.Start(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = p.Close(context.Background()) }()
	for _, name := range []string{"", "admits", "hears"} {
		b.Run("plugin "+name, func(b *testing.B) {
			server := smtptest.NewServer(b, smtptest.ServerOptions{})
			config := core.Config{Endpoint: server.URL(), Transports: transport.Standard()}
			if name != "" {
				i, err := p.Interceptor(name)
				if err != nil {
					b.Fatal(err)
				}
				config.Interceptors = []core.Interceptor{i}
			}
			client, err := core.NewClient(config)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			m := message()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Send(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
		})
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

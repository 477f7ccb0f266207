package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"sync"

	"github.com/emersion/go-smtp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
	"github.com/postrider/postrider/transport"
)

// A client whose deliveries are traced and measured. The exporter of this
// example prints the names of the spans in the order in which they end; a real
// one sends them to a collector.
func ExampleNew() {
	address, stop := startServer()
	defer stop()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	meters := sdkmetric.NewMeterProvider()

	tel, err := telemetry.New(telemetry.WithTracerProvider(tracers), telemetry.WithMeterProvider(meters))
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewClient(core.Config{
		Endpoint:     "smtp://" + address,
		Transports:   transport.Standard(),
		Interceptors: []core.Interceptor{tel}, // the first is the outermost
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	_, err = client.Send(context.Background(), &core.Message{
		From: "me@example.com", To: core.Recipients("you@example.net"), Body: core.String("Subject: hello\r\n\r\nHi!\r\n"),
	})
	fmt.Println("error:", err)

	// Output:
	// smtp dial
	// smtp greeting
	// smtp hello
	// smtp connect
	// smtp attempt: 1 of 1 accepted
	// smtp delivery: 1 of 1 accepted
	// error: <nil>
}

// printer is an exporter that prints names.
type printer struct{}

func (printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		line := s.Name()
		counts := make(map[string]int64)
		for _, kv := range s.Attributes() {
			counts[string(kv.Key)] = kv.Value.AsInt64()
		}
		if total, ok := counts["postrider.recipients.total"]; ok {
			line += fmt.Sprintf(": %d of %d accepted", counts["postrider.recipients.accepted"], total)
		}
		fmt.Println(line)
	}
	return nil
}

func (printer) Shutdown(context.Context) error { return nil }

// startServer starts a server that accepts everything.
func startServer() (address string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return inbox{}, nil }))
	server.Domain = "localhost"
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(l) })
	return l.Addr().String(), func() {
		_ = server.Close()
		done.Wait()
	}
}

type inbox struct{}

func (inbox) Reset()                               {}
func (inbox) Logout() error                        { return nil }
func (inbox) Mail(string, *smtp.MailOptions) error { return nil }
func (inbox) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (inbox) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

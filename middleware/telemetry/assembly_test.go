package telemetry_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/telemetry"
)

func TestWithoutOptionsTheGlobalProviderIsUsedEvenIfItIsSetLater(t *testing.T) {
	// A global provider can be set once: in a process of its own.
	const inside = "POSTRIDER_TEST_GLOBAL"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	tel, err := telemetry.New(telemetry.WithTracerProvider(nil), telemetry.WithMeterProvider(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, serve(t, &smtpServer{}), interceptors(tel))
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	o := &observed{t: t, spans: spans}
	wantSuccess(t, o.one(telemetry.SpanDelivery))
	wantSuccess(t, o.one(telemetry.SpanAttempt))
}

func TestTheFunctionsWorkWithoutEachOther(t *testing.T) {
	for name, drop := range map[string]func(*core.Interceptor){
		"no connect":  func(i *core.Interceptor) { i.Connect = nil },
		"no delivery": func(i *core.Interceptor) { i.Delivery = nil },
		"no attempt":  func(i *core.Interceptor) { i.Attempt = nil },
		"only attempt": func(i *core.Interceptor) {
			*i = core.Interceptor{Name: i.Name, Attempt: i.Attempt}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := observe(t)
			drop(&o.tel)
			if _, err := send(t, o.client(serve(t, &smtpServer{})), letter(bob)); err != nil {
				t.Fatal(err)
			}
			if o.tel.Attempt != nil {
				wantAttrs(t, name, o.one(telemetry.SpanAttempt).Attributes(), map[attribute.Key]any{
					"server.address": "127.0.0.1", "network.protocol.name": "smtp", "postrider.recipients.accepted": int64(1)})
			}
		})
	}
}

func TestOneInterceptorServesSeveralClientsAtOnce(t *testing.T) {
	o := observe(t, telemetry.WithExchangeSpans())
	const clients, messages = 4, 25
	var all sync.WaitGroup
	for range clients {
		client := o.client(serve(t, &smtpServer{}))
		for range 2 {
			all.Go(func() {
				for range messages {
					if _, err := send(t, client, letter(bob)); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	if n := len(o.named(telemetry.SpanAttempt)); n != clients*2*messages {
		t.Errorf("there are %d attempts, want %d", n, clients*2*messages)
	}
	ports := make(map[any]bool)
	for _, s := range o.named(telemetry.SpanAttempt) {
		port := attr(s.Attributes(), "server.port")
		if peer := attr(s.Attributes(), "network.peer.port"); peer != port {
			t.Errorf("an attempt with port %v ran on %v", port, peer)
		}
		ports[port] = true
	}
	if len(ports) != clients {
		t.Errorf("there are %d servers, want %d", len(ports), clients)
	}
}

func TestAMeterProviderThatRefusesAMetricIsAnErrorOfNew(t *testing.T) {
	_, err := telemetry.New(telemetry.WithMeterProvider(brokenMeters{}))
	if err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("New: %v, want the provider's error", err)
	}
}

type brokenMeters struct{ metricnoop.MeterProvider }

func (brokenMeters) Meter(string, ...metric.MeterOption) metric.Meter { return brokenMeter{} }

type brokenMeter struct{ metricnoop.Meter }

func (brokenMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errors.New("no room")
}

func (brokenMeter) Int64Histogram(string, ...metric.Int64HistogramOption) (metric.Int64Histogram, error) {
	return nil, errors.New("no room")
}

func TestWorkThatPanicsOutsideOfAnyInterceptorEndsItsSpansWithoutThePanicsValue(t *testing.T) {
	boom := func() { panic("boom " + bob) }
	serverTLS, _ := certificate(t)
	for name, c := range map[string]struct {
		change func(*core.Config)
		body   core.Body
		spans  []string
	}{
		"a function of the configuration": {
			func(c *core.Config) {
				c.TLS = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { boom(); return nil }}
			},
			core.String("x"), []string{telemetry.SpanTLS, telemetry.SpanConnect, telemetry.SpanDelivery},
		},
		"a stream": {
			func(c *core.Config) { c.Endpoint, c.Transports = "broken://", []core.Transport{broken{boom}} },
			core.String("x"), []string{telemetry.SpanExchange, telemetry.SpanConnect, telemetry.SpanDelivery},
		},
		"a body": {
			func(c *core.Config) { c.TLSPolicy = core.TLSOff },
			core.Reader(readFunc(boom)), []string{telemetry.SpanExchange, telemetry.SpanAttempt, telemetry.SpanDelivery},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := observe(t, telemetry.WithExchangeSpans())
			m := letter(bob)
			m.Body = c.body
			if _, err := send(t, o.client(serve(t, &smtpServer{tls: serverTLS}), c.change), m); err == nil {
				t.Fatal("Send succeeded")
			}
			for _, name := range c.spans {
				list := o.named(name)
				if len(list) == 0 {
					t.Fatalf("there is no span %q", name)
				}
				if kind := attr(list[len(list)-1].Attributes(), "error.type"); kind != "panic" {
					t.Errorf("%s: error.type is %v, want panic", name, kind)
				}
			}
			if strings.Contains(o.dump(), "boom") {
				t.Error("the panic's value was recorded")
			}
		})
	}
}

// readFunc is a reader that calls a function.
type readFunc func()

func (f readFunc) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// broken is a transport whose streams call a function when they are read.
type broken struct{ read func() }

func (broken) Scheme() string { return "broken" }

func (broken) Endpoint(*url.URL) (core.Endpoint, error) {
	return core.Endpoint{Network: "tcp", Address: "broken:25", Local: true}, nil
}

func (b broken) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	ours, theirs := net.Pipe()
	return brokenConn{ours, b.read}, theirs.Close()
}

type brokenConn struct {
	net.Conn
	read func()
}

func (c brokenConn) Read([]byte) (int, error) {
	c.read()
	return 0, io.EOF
}

package telemetry_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/telemetry"
	"github.com/postrider/postrider/transport"
)

func TestConnectingIsASpanInTheDeliveryWithAStepForEachThingDone(t *testing.T) {
	o := observe(t)
	serverTLS, clientTLS := certificate(t)
	s := &smtpServer{tls: serverTLS, announce: []string{"AUTH PLAIN", "PIPELINING"}}
	client := o.client(serve(t, s), func(c *core.Config) {
		c.TLS, c.Auth = clientTLS, mechanisms.Password("alice", "tanstaafl")
	})
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	connect := o.one(telemetry.SpanConnect)
	if !childOf(connect, o.one(telemetry.SpanDelivery)) || connect.SpanKind() != trace.SpanKindClient {
		t.Error("connecting is no client span in the delivery")
	}
	wantSuccess(t, connect)

	var steps []sdktrace.ReadOnlySpan
	var names []string
	for _, span := range o.spans.Ended() {
		if childOf(span, connect) {
			steps, names = append(steps, span), append(names, span.Name())
		}
	}
	want := []string{telemetry.SpanDial, telemetry.SpanGreeting, telemetry.SpanHello, telemetry.SpanTLS, telemetry.SpanHello, telemetry.SpanAuth}
	if !slices.Equal(names, want) {
		t.Fatalf("the steps are %q, want %q", names, want)
	}
	last := connect.StartTime()
	for _, step := range steps {
		wantSuccess(t, step)
		if step.StartTime().Before(last) || step.EndTime().Before(step.StartTime()) || step.EndTime().After(connect.EndTime()) {
			t.Errorf("%s is from %v to %v, after %v and within %v", step.Name(), step.StartTime(), step.EndTime(), last, connect.EndTime())
		}
		last = step.EndTime()
	}

	tlsAttrs := map[attribute.Key]any{"tls.protocol.version": "1.3", "tls.cipher": attr(steps[3].Attributes(), "tls.cipher"), "postrider.tls.verified": true}
	if c, _ := tlsAttrs["tls.cipher"].(string); !strings.HasPrefix(c, "TLS_") {
		t.Errorf("tls.cipher is %q", c)
	}
	wantAttrs(t, "tls", steps[3].Attributes(), tlsAttrs)
	wantAttrs(t, "auth", steps[5].Attributes(), map[attribute.Key]any{"postrider.auth.mechanism": "PLAIN"})
	for _, name := range []string{telemetry.SpanConnect, telemetry.SpanAttempt} {
		wantAttrs(t, name, o.one(name).Attributes(), tlsAttrs)
		wantAttrs(t, name, o.one(name).Attributes(), map[attribute.Key]any{"postrider.auth.mechanism": "PLAIN", "network.peer.address": "127.0.0.1"})
	}
}

func TestAnAttemptLinksToTheConnectionItRunsOnWhicheverDeliveryOpenedIt(t *testing.T) {
	o := observe(t)
	client := o.client(serve(t, &smtpServer{answer: once("MAIL", "451 4.3.0 try later")}))
	if _, err := send(t, client, letter(bob)); err == nil {
		t.Fatal("the first Send succeeded")
	}
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	connect, attempts := o.one(telemetry.SpanConnect), o.named(telemetry.SpanAttempt)
	if len(attempts) != 2 {
		t.Fatalf("there are %d attempts, want 2", len(attempts))
	}
	wantFailure(t, attempts[0], "451", "mail", "temporary")
	wantSuccess(t, attempts[1])
	if attempts[0].SpanContext().TraceID() == attempts[1].SpanContext().TraceID() {
		t.Error("two deliveries share a trace")
	}
	for i, a := range attempts {
		if len(a.Links()) != 1 || !a.Links()[0].SpanContext.Equal(connect.SpanContext()) {
			t.Errorf("attempt %d links to %v, want the connection", i, a.Links())
		}
		wantAttrs(t, a.Name(), a.Attributes(), map[attribute.Key]any{"postrider.connection.reused": i > 0, "postrider.attempt.number": int64(1)})
	}
}

func TestAnAttemptThatFindsItsSessionDeadTellsOfTheOneItRanOnInstead(t *testing.T) {
	o := observe(t)
	client := o.client(serve(t, &smtpServer{answer: nth(2, "MAIL", hangUp)}))
	for range 2 {
		if _, err := send(t, client, letter(bob)); err != nil {
			t.Fatal(err)
		}
	}
	connects, attempts := o.named(telemetry.SpanConnect), o.named(telemetry.SpanAttempt)
	if len(connects) != 2 || len(attempts) != 2 {
		t.Fatalf("there are %d connections and %d attempts, want 2 and 2", len(connects), len(attempts))
	}
	if !childOf(connects[1], attempts[1]) {
		t.Error("the second connection was not opened in the attempt that needed it")
	}
	wantSuccess(t, attempts[1])
	for i, a := range attempts {
		if len(a.Links()) != 1 || !a.Links()[0].SpanContext.Equal(connects[i].SpanContext()) {
			t.Errorf("attempt %d links to %v, want its connection", i, a.Links())
		}
		wantAttrs(t, a.Name(), a.Attributes(), map[attribute.Key]any{"postrider.connection.reused": false, "postrider.attempt.number": int64(1)})
	}
}

func TestNoAttemptLinksToASpanThatWasNotSampled(t *testing.T) {
	o := observe(t)
	unsampled := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	client := o.client(serve(t, &smtpServer{}))
	if _, err := client.Send(unsampled, letter(bob)); err != nil {
		t.Fatal(err)
	}
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	if links := o.one(telemetry.SpanAttempt).Links(); len(links) != 0 {
		t.Errorf("the attempt links to %v, which no backend has", links)
	}
	wantAttrs(t, "attempt", o.one(telemetry.SpanAttempt).Attributes(), map[attribute.Key]any{"network.peer.address": "127.0.0.1", "postrider.connection.reused": true})
}

func TestAServerThatCannotBeReachedFailsDialConnectAndDeliveryAlike(t *testing.T) {
	o := observe(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := send(t, o.client(l.Addr().String()), letter(bob)); !errors.Is(err, core.ErrDisconnected) {
		t.Fatalf("Send: %v, want no connection", err)
	}
	for _, name := range []string{telemetry.SpanDial, telemetry.SpanConnect, telemetry.SpanDelivery} {
		wantFailure(t, o.one(name), "connection_failed", "connect", "temporary")
	}
	if n := len(o.named(telemetry.SpanAttempt)); n != 0 {
		t.Errorf("there are %d attempts", n)
	}
	wantAttrs(t, "connect", o.one(telemetry.SpanConnect).Attributes(), map[attribute.Key]any{"server.address": "127.0.0.1", "network.peer.address": nil})
}

func TestAStepThatTheServerRefusesHasTheReplyCode(t *testing.T) {
	serverTLS, _ := certificate(t)
	for _, c := range []struct{ line, step, reply, kind, stage, class string }{
		{"greeting", telemetry.SpanGreeting, "554 5.3.2 go away", "554", "connect", "permanent"},
		{"greeting", telemetry.SpanGreeting, "421 4.3.2 busy", "421", "connect", "temporary"},
		{"STARTTLS", telemetry.SpanTLS, "454 4.7.0 no TLS now", "454", "tls", "temporary"},
		{"greeting", telemetry.SpanGreeting, "nonsense", "protocol", "connect", "temporary"},
		{"EHLO", telemetry.SpanHello, hangUp, "connection_lost", "hello", "temporary"},
	} {
		t.Run(c.line+" "+c.kind, func(t *testing.T) {
			o := observe(t)
			s := &smtpServer{tls: serverTLS, answer: func(line string) string {
				if strings.HasPrefix(line, c.line) {
					return c.reply
				}
				return usual
			}}
			if _, err := send(t, o.client(serve(t, s)), letter(bob)); err == nil {
				t.Fatal("Send succeeded")
			}
			for _, name := range []string{c.step, telemetry.SpanConnect, telemetry.SpanDelivery} {
				wantFailure(t, o.one(name), c.kind, c.stage, c.class)
			}
		})
	}
}

func TestAFailedAuthenticationIsReportedWithoutAnySecret(t *testing.T) {
	const user, password = "alice.liddell", "opensesame99"
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	o := observe(t, telemetry.WithAddresses(), telemetry.WithExchangeSpans())
	s := &smtpServer{announce: []string{"AUTH PLAIN"}, answer: func(line string) string {
		if strings.HasPrefix(line, "AUTH") {
			if !strings.Contains(line, response) {
				t.Errorf("the server got %q", line)
			}
			return "535 5.7.8 " + user + " with " + password + " or " + response + " is wrong"
		}
		return usual
	}}
	client := o.client(serve(t, s), func(c *core.Config) { c.Auth = mechanisms.Password(user, password) })
	if _, err := send(t, client, letter(bob)); !errors.Is(err, core.ErrAuthentication) {
		t.Fatalf("Send: %v, want a failed authentication", err)
	}
	for _, name := range []string{telemetry.SpanAuth, telemetry.SpanConnect, telemetry.SpanDelivery} {
		wantFailure(t, o.one(name), "535", "auth", "permanent")
	}
	wantAttrs(t, "auth", o.one(telemetry.SpanAuth).Attributes(), map[attribute.Key]any{"postrider.auth.mechanism": "PLAIN"})
	wantAttrs(t, "connect", o.one(telemetry.SpanConnect).Attributes(), map[attribute.Key]any{"postrider.auth.mechanism": nil})
	dump := o.dump()
	for _, secret := range []string{user, password, response, base64.StdEncoding.EncodeToString([]byte(password))} {
		if strings.Contains(dump, secret) {
			t.Errorf("%q was recorded", secret)
		}
	}
}

func TestTheOwnerOfASessionSeesItsConnectingToo(t *testing.T) {
	o := observe(t)
	s, err := core.Dial(t.Context(), core.Config{Endpoint: "smtp://" + serve(t, &smtpServer{}), Transports: transport.Standard(), Interceptors: []core.Interceptor{o.tel}})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	wantSuccess(t, o.one(telemetry.SpanConnect))
}

func TestATLSHandshakeThatFailsIsATLSError(t *testing.T) {
	o := observe(t)
	serverTLS, _ := certificate(t)
	client := o.client(serve(t, &smtpServer{tls: serverTLS}), func(c *core.Config) {
		c.TLS, c.TLSPolicy = &tls.Config{}, core.TLSRequired
	})
	if _, err := send(t, client, letter(bob)); err == nil {
		t.Fatal("an unknown authority was trusted")
	}
	wantFailure(t, o.one(telemetry.SpanTLS), "tls", "tls", "permanent")
}

func TestAServerWithoutTheTLSThatIsRequiredFailsTheStep(t *testing.T) {
	o := observe(t)
	client := o.client(serve(t, &smtpServer{}), func(c *core.Config) { c.TLSPolicy = core.TLSRequired })
	if _, err := send(t, client, letter(bob)); !errors.Is(err, core.ErrTLSRequired) {
		t.Fatalf("Send: %v, want TLS to be required", err)
	}
	for _, name := range []string{telemetry.SpanTLS, telemetry.SpanConnect, telemetry.SpanDelivery} {
		wantFailure(t, o.one(name), "tls", "tls", "permanent")
	}
}

func TestTheServerOfAUnixSocketIsItsPathAndLMTPIsTheProtocol(t *testing.T) {
	o := observe(t)
	path := serveOn(t, &smtpServer{}, "unix", t.TempDir()+"/lmtp.sock")
	client := newClient(t, "", interceptors(o.tel), func(c *core.Config) {
		c.Endpoint, c.Transports = "socket://"+path, []core.Transport{socket{}}
	})
	if _, err := send(t, client, letter(bob)); err != nil {
		t.Fatal(err)
	}
	wantAttrs(t, "attempt", o.one(telemetry.SpanAttempt).Attributes(), map[attribute.Key]any{
		"server.address": path, "server.port": nil, "network.protocol.name": "lmtp",
		"network.transport": "unix", "network.peer.address": path, "network.peer.port": nil,
	})
}

func TestASessionThatAnInterceptorOnlyPretendsToOpenIsALocalFailure(t *testing.T) {
	o := observe(t)
	pretend := core.Interceptor{Name: "pretend", Connect: func(core.ConnectFunc) core.ConnectFunc {
		return func(context.Context, *core.Connect) error { return nil }
	}}
	if _, err := send(t, o.client(serve(t, &smtpServer{}), interceptors(pretend)), letter(bob)); !errors.Is(err, core.ErrNextSkipped) {
		t.Fatalf("Send: %v, want the interceptor's mistake", err)
	}
	for _, name := range []string{telemetry.SpanConnect, telemetry.SpanDelivery} {
		if kind := attr(o.one(name).Attributes(), "error.type"); kind != "local" {
			t.Errorf("%s: error.type is %v, want local", name, kind)
		}
	}
}

// socket is a transport for LMTP over a Unix socket.
type socket struct{ net.Dialer }

func (socket) Scheme() string { return "socket" }

func (socket) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{Network: "unix", Address: u.Path, Protocol: core.LMTP, Security: core.Protected, Local: true}, nil
}

func (s socket) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	return s.DialContext(ctx, e.Network, e.Address)
}

package logging_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/logging"
)

const anyTime = 1 << 40 // in nanoseconds

func TestADeliveryIsOneRecord(t *testing.T) {
	accept := smtptest.ServerOptions{Content: accepts("queued as 4F1B2C3D")}
	for _, tt := range []struct {
		rule   string
		server smtptest.ServerOptions
		to     []string
		want   map[string]any
	}{
		{"info: all accepted", accept, []string{bob, carol}, map[string]any{
			"level": "INFO", "postrider.recipients.total": 2, "postrider.recipients.accepted": 2, "postrider.recipients.refused": 0,
			"postrider.message.queue_id": "4F1B2C3D", "postrider.reply.code": 250, "postrider.reply.enhanced_code": "2.0.0",
			"postrider.error.stage": nil, "error": nil,
		}},
		{"warn: one may be accepted later", refuse(9, carol, "451 4.7.1 greylisted"), []string{bob, carol}, map[string]any{
			"level": "WARN", "postrider.recipients.accepted": 1, "postrider.recipients.deferred": 1,
			"postrider.reply.code": 451, "postrider.reply.enhanced_code": "4.7.1",
			"postrider.error.stage": "rcpt", "postrider.error.class": "temporary", "error": "recipient refused",
		}},
		{"error: one was refused", refuse(9, bob, "550 5.1.1 no such mailbox"), []string{bob, carol}, map[string]any{
			"level": "ERROR", "postrider.recipients.accepted": 1, "postrider.recipients.refused": 1,
			"postrider.reply.code": 550, "postrider.reply.enhanced_code": "5.1.1",
			"postrider.error.stage": "rcpt", "postrider.error.class": "permanent", "error": "recipient refused",
		}},
	} {
		for _, s := range sessions {
			t.Run(tt.rule+", "+s.name, func(t *testing.T) {
				b := newBook(slog.LevelInfo)
				config := smtptest.NewServer(t, tt.server).Config()
				s.change(&config)
				client := newClient(t, config, mustNew(t, logging.Config{Logger: b.logger}))
				_, _ = client.Send(t.Context(), letter(tt.to...))
				if n := len(b.records(t, "")); n != 1 {
					t.Errorf("there are %d records, want 1", n)
				}
				r := b.one(t, logging.Delivery)
				r.want(t, tt.want)
				r.want(t, map[string]any{
					"postrider.delivery.attempts": 1, "server.address": "127.0.0.1", "network.peer.address": "127.0.0.1",
					"network.protocol.name": "smtp", "trace_id": nil, "span_id": nil,
				})
				if d, ok := r["duration"].(float64); !ok || d <= 0 || d > anyTime {
					t.Errorf("duration is %v", r["duration"])
				}
			})
		}
	}
}

func TestTheWorstRecipientIsTheReason(t *testing.T) {
	script := smtptest.NewScript(t, `
		S: 220 mx.example
		C: LHLO client.example
		S: 250 mx.example
		C: MAIL FROM:<alice@sender.example>
		S: 250 ok
		C: RCPT TO:<bob@recipient.example>
		S: 452 4.2.2 full
		C: RCPT TO:<carol@recipient.example>
		S: 250 ok
		C: RCPT TO:<dave@recipient.example>
		S: 550 5.1.1 unknown
		C: DATA
		S: 354 go on
		CONTENT
		CLOSE
	`, smtptest.Options{Protocol: core.LMTP})
	b := newBook(slog.LevelInfo)
	client := newClient(t, script.Config(), mustNew(t, logging.Config{Logger: b.logger, Addresses: true}))
	_, _ = client.Send(t.Context(), letter(bob, carol, "dave@recipient.example"))
	b.one(t, logging.Delivery).want(t, map[string]any{
		"level": "ERROR", "network.protocol.name": "lmtp", "postrider.server.domain": "mx.example",
		"postrider.recipients.deferred": 1, "postrider.recipients.refused": 1, "postrider.recipients.unknown": 1,
		"postrider.recipient.address": carol, "postrider.error.stage": "content",
	})
}

func TestTheLevelIsTheCallersToChoose(t *testing.T) {
	quiet := func(o core.Outcome) slog.Level {
		if o == core.Refused {
			return slog.LevelInfo + 1 // bounces are daily business
		}
		return logging.DefaultLevel(o)
	}
	for reply, want := range map[string]string{"550 no": "INFO+1", "450 later": "WARN"} {
		b := newBook(slog.LevelInfo)
		client := newClient(t, smtptest.NewServer(t, refuse(9, bob, reply)).Config(), mustNew(t, logging.Config{Logger: b.logger, Level: quiet}))
		_, _ = client.Send(t.Context(), letter(bob, carol))
		b.one(t, logging.Delivery).want(t, map[string]any{"level": want})
	}
}

func TestAttemptsThatFailOrTryAgain(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelWarn} {
		b := newBook(level)
		config := smtptest.NewServer(t, refuse(1, bob, "451 4.7.1 greylisted")).Config()
		client := newClient(t, config, mustNew(t, logging.Config{Logger: b.logger, Attempts: level}), again())
		for range 2 { // of the second message there is nothing to say
			if _, err := client.Send(t.Context(), letter(bob, carol)); err != nil {
				t.Fatal(err)
			}
		}
		list := b.records(t, logging.Attempt)
		if len(list) != 2 {
			t.Fatalf("%d records, want 2", len(list))
		}
		list[0].want(t, map[string]any{
			"level": level.String(), "postrider.attempt.number": 1, "postrider.attempt.retry": false,
			"postrider.recipients.total": 2, "postrider.recipients.accepted": 1, "postrider.recipients.deferred": 1,
			"postrider.reply.code": 451, "error": "recipient refused",
		})
		list[1].want(t, map[string]any{
			"level": level.String(), "postrider.attempt.number": 2, "postrider.attempt.retry": true,
			"postrider.recipients.total": 1, "postrider.recipients.accepted": 1, "error": nil,
		})
	}
}

func TestSessionsAreLoggedAtDebugLevel(t *testing.T) {
	b := newBook(slog.LevelDebug)
	server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, Users: map[string]string{"rider": "sesame"}})
	config := server.Config()
	config.Auth = mechanisms.Password("rider", "sesame")
	client := newClient(t, config, mustNew(t, logging.Config{Logger: b.logger}))
	if _, err := client.Send(t.Context(), letter(bob)); err != nil {
		t.Fatal(err)
	}
	if err := client.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	session := map[string]any{
		"level": "DEBUG", "server.address": "127.0.0.1", "tls.protocol.version": "1.3", "postrider.tls.verified": true,
		"postrider.auth.mechanism": "PLAIN", "error": nil,
	}
	b.one(t, logging.Connect).want(t, session)
	b.one(t, logging.Close).want(t, session)
	session["level"] = "INFO"
	b.one(t, logging.Delivery).want(t, session)
	if strings.Contains(b.text.String(), "sesame") || strings.Contains(b.text.String(), "rider\"") {
		t.Errorf("a credential was logged:\n%s", b.text.String())
	}
}

func TestASessionThatCannotBeOpened(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(*core.Config)
		want   map[string]any
	}{
		{"wrong password", func(c *core.Config) { c.Auth = mechanisms.Password("rider", "tanstaafl") },
			map[string]any{"postrider.auth.mechanism": "PLAIN", "postrider.error.stage": "auth", "postrider.reply.code": 535, "error": "the server does not accept the credentials"}},
		{"a certificate that does not verify", func(c *core.Config) { c.TLS = nil; c.TLSPolicy = core.TLSRequired },
			map[string]any{"postrider.error.stage": "tls", "error": "tls: failed to verify certificate: x509: certificate signed by unknown authority"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			b := newBook(slog.LevelDebug)
			server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, Users: map[string]string{"rider": "sesame"}})
			config := server.Config()
			tt.change(&config)
			_, _ = newClient(t, config, mustNew(t, logging.Config{Logger: b.logger})).Send(t.Context(), letter(bob))
			b.one(t, logging.Connect).want(t, tt.want)
			r := b.one(t, logging.Delivery)
			delete(tt.want, "postrider.auth.mechanism") // of a session, and there is none
			r.want(t, tt.want)
			r.want(t, map[string]any{"postrider.delivery.attempts": 0})
			if strings.Contains(b.text.String(), "tanstaafl") {
				t.Error("the password was logged")
			}
		})
	}
}

func TestAServerThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	b := newBook(slog.LevelDebug)
	config := smtptest.NewServer(t, smtptest.ServerOptions{}).Config()
	config.Transports = []core.Transport{elsewhere{config.Transports[0], l.Addr().String()}}
	_, _ = newClient(t, config, mustNew(t, logging.Config{Logger: b.logger})).Send(t.Context(), letter(bob))
	for _, m := range []string{logging.Connect, logging.Delivery} {
		b.one(t, m).want(t, map[string]any{
			"postrider.error.stage": "connect", "postrider.error.class": "temporary",
			"error": "dial tcp " + l.Addr().String() + ": connect: connection refused",
		})
	}
}

// elsewhere leads to another address.
type elsewhere struct {
	core.Transport
	address string
}

func (e elsewhere) Dial(ctx context.Context, to core.Endpoint) (net.Conn, error) {
	to.Address = e.address
	return e.Transport.Dial(ctx, to)
}

func TestTheSpanOfTheContextIsNamed(t *testing.T) {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	b := newBook(slog.LevelInfo)
	client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), mustNew(t, logging.Config{Logger: b.logger}))
	if _, err := client.Send(trace.ContextWithSpanContext(t.Context(), span), letter(bob)); err != nil {
		t.Fatal(err)
	}
	b.one(t, logging.Delivery).want(t, map[string]any{"trace_id": span.TraceID().String(), "span_id": span.SpanID().String()})
}

type contextKey struct{}

// seeing is a handler that looks at the context.
type seeing struct {
	slog.Handler
	saw func(context.Context)
}

func (s seeing) Handle(ctx context.Context, r slog.Record) error {
	s.saw(ctx)
	return s.Handler.Handle(ctx, r)
}

func TestTheHandlerGetsTheContextOfTheWork(t *testing.T) {
	var saw any
	h := seeing{slog.DiscardHandler, func(ctx context.Context) { saw = ctx.Value(contextKey{}) }}
	client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), mustNew(t, logging.Config{Logger: slog.New(always{h})}))
	if _, err := client.Send(context.WithValue(t.Context(), contextKey{}, "mine"), letter(bob)); err != nil {
		t.Fatal(err)
	}
	if saw != "mine" {
		t.Errorf("it saw %v", saw)
	}
}

// always is a handler that wants every record.
type always struct{ slog.Handler }

func (always) Enabled(context.Context, slog.Level) bool { return true }

func TestWhatAnInterceptorRefuses(t *testing.T) {
	for class, level := range map[core.Class]string{core.Temporary: "WARN", core.Permanent: "ERROR", core.Local: "ERROR"} {
		b := newBook(slog.LevelDebug)
		stop := core.Interceptor{Name: "stop", Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(context.Context, *core.Delivery) error {
				return &core.Error{Stage: core.StagePolicy, Class: class, Err: errors.New("no " + bob)}
			}
		}}
		client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), mustNew(t, logging.Config{Logger: b.logger}), stop)
		_, _ = client.Send(t.Context(), letter(bob))
		b.one(t, logging.Delivery).want(t, map[string]any{
			"level": level, "postrider.error.stage": "policy", "postrider.error.class": class.String(), "error": nil,
			"postrider.delivery.attempts": 0, "network.peer.address": nil,
		})
	}
}

func TestASessionThatAnInterceptorPretendsToHaveOpened(t *testing.T) {
	b := newBook(slog.LevelDebug)
	pretend := core.Interceptor{Name: "pretend", Connect: func(core.ConnectFunc) core.ConnectFunc {
		return func(context.Context, *core.Connect) error { return nil }
	}}
	client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), mustNew(t, logging.Config{Logger: b.logger}), pretend)
	_, _ = client.Send(t.Context(), letter(bob))
	for _, m := range []string{logging.Connect, logging.Delivery} {
		b.one(t, m).want(t, map[string]any{"error": "returned success without calling next"})
	}
}

func TestFromManyGoroutines(t *testing.T) {
	for _, s := range sessions {
		t.Run(s.name, func(t *testing.T) {
			b := newBook(slog.LevelDebug)
			config := smtptest.NewServer(t, refuse(-1, carol, "550 5.1.1 unknown")).Config()
			s.change(&config)
			client := newClient(t, config, mustNew(t, logging.Config{Logger: b.logger}))
			var all sync.WaitGroup
			for range 32 {
				all.Go(func() {
					if _, err := client.Send(t.Context(), letter(bob)); err != nil {
						t.Error(err)
					}
					if _, err := client.Send(t.Context(), letter(bob, carol)); err == nil {
						t.Error("it was accepted")
					}
				})
			}
			all.Wait()
			levels := make(map[string]int)
			for _, r := range b.records(t, logging.Delivery) {
				levels[fmt.Sprint(r["level"], r["postrider.recipients.refused"])]++
			}
			if levels["INFO0"] != 32 || levels["ERROR1"] != 32 || len(b.records(t, logging.Attempt)) != 32 {
				t.Errorf("deliveries %v, %d failed attempts", levels, len(b.records(t, logging.Attempt)))
			}
		})
	}
}

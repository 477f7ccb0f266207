package main

import (
	"bytes"
	"context"
	"net/mail"
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// Who may send to the inbox. Both are made up.
const (
	user     = "orders"
	password = "correct horse battery staple"
)

// startInbox starts a mail server in this process. It defers the first message
// that it gets, and what becomes of another is a span of the sender's trace.
func startInbox(tracers trace.TracerProvider) (*smtptest.Server, error) {
	tracer := tracers.Tracer(scope)
	var deferred atomic.Bool
	return smtptest.StartServer(smtptest.ServerOptions{
		StartTLS: true, Users: map[string]string{user: password}, RequireAuth: true,
		Rcpt: func(smtptest.Envelope, smtptest.Recipient) *core.Reply {
			if !deferred.Swap(true) {
				return smtptest.Reply("450 4.2.0 Greylisted, try again in a moment")
			}
			return nil
		},
		Content: func(m smtptest.Message) *core.Reply {
			message, err := mail.ReadMessage(bytes.NewReader(m.Content))
			if err != nil {
				return smtptest.Reply("550 5.6.0 This is not a message")
			}
			ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(message.Header))
			_, span := tracer.Start(ctx, "handle message", trace.WithSpanKind(trace.SpanKindConsumer))
			defer span.End()
			return smtptest.Reply("250 2.0.0 Ok: queued as " + span.SpanContext().SpanID().String())
		},
	})
}

package telemetry

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// exchange observes commands and their replies.
func (t *observer) exchange(next core.ExchangeFunc) core.ExchangeFunc {
	return func(ctx context.Context, x *core.Exchange) (err error) {
		if !trace.SpanContextFromContext(ctx).IsValid() {
			return next(ctx, x)
		}
		ctx, span := t.tracer.Start(ctx, SpanExchange)
		if !span.IsRecording() {
			err = next(ctx, x)
			span.End()
			return err
		}
		returned := false
		defer func() {
			if !returned {
				err = errAborted
			}
			exchanged(span, x, err)
			span.End()
		}()
		err = next(ctx, x)
		returned = true
		return err
	}
}

// exchanged reports how an exchange ended.
func exchanged(span trace.Span, x *core.Exchange, err error) {
	commands := make([]string, len(x.Commands))
	for i := range x.Commands {
		commands[i] = nameOf(&x.Commands[i])
	}
	replies := make([]int, len(x.Replies))
	var refusal core.Reply // the first
	for i, r := range x.Replies {
		replies[i] = r.Code
		if r.Code >= 400 && refusal.Code == 0 {
			refusal = r
		}
	}
	var attrs []attribute.KeyValue
	if len(commands) > 0 { // the greeting has none
		attrs = append(attrs, ExchangeCommandsKey.StringSlice(commands))
	}
	if len(replies) > 0 {
		attrs = append(attrs, ExchangeReplyCodesKey.IntSlice(replies))
	}
	span.SetAttributes(attrs...)
	switch {
	case err != nil:
		explain(err, core.StageCommand).mark(span)
	case refusal.Code != 0:
		span.SetStatus(codes.Error, "")
		span.SetAttributes(appendReply([]attribute.KeyValue{semconv.ErrorTypeKey.String(strconv.Itoa(refusal.Code))}, refusal)...)
	}
}

// nameOf names a command, and nothing of what it carries.
func nameOf(c *core.Command) string {
	switch c.Verb {
	case "":
		return "auth response"
	case core.EndOfData:
		return "content"
	}
	return c.Verb
}

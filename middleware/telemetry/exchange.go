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
		err = errAborted // unless next returns
		defer func() {
			if span.IsRecording() {
				exchanged(span, x, err)
			}
			span.End()
		}()
		return next(ctx, x)
	}
}

// exchanged reports how an exchange ended.
func exchanged(span trace.Span, x *core.Exchange, err error) {
	var (
		commands = make([]string, 0, len(x.Commands))
		replies  = make([]int, 0, len(x.Replies))
		refusal  core.Reply // the first
		stage    core.Stage // its stage, or else that of the first command
	)
	for c, list := range x.Pairs() {
		if c != nil {
			commands = append(commands, nameOf(c))
		}
		if stage == 0 {
			stage = stageOf(c)
		}
		for _, r := range list {
			replies = append(replies, r.Code)
			if r.Code >= 400 && refusal.Code == 0 {
				refusal, stage = r, stageOf(c)
			}
		}
	}
	var attrs []attribute.KeyValue
	if len(commands) > 0 {
		attrs = append(attrs, ExchangeCommandsKey.StringSlice(commands))
	}
	if len(replies) > 0 {
		attrs = append(attrs, ExchangeReplyCodesKey.IntSlice(replies))
	}
	span.SetAttributes(attrs...)
	switch {
	case err != nil:
		mark(span, err, stage)
	case refusal.Code != 0:
		span.SetStatus(codes.Error, "")
		attrs = []attribute.KeyValue{semconv.ErrorTypeKey.String(strconv.Itoa(refusal.Code)), ErrorStageKey.String(stage.String())}
		span.SetAttributes(appendReply(attrs, refusal)...)
	}
}

// stageOf returns the stage of a command, or of the greeting, which has none.
func stageOf(c *core.Command) core.Stage {
	if c == nil {
		return core.StageConnect
	}
	return c.Stage()
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

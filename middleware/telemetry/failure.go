package telemetry

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core"
)

// The values of error.type where it is not a reply code. docs/telemetry.md
// explains them.
const (
	errorPanic            = "panic"
	errorUnknown          = "delivery_unknown"
	errorCanceled         = "canceled"
	errorTimeout          = "timeout"
	errorProtocol         = "protocol"
	errorTLS              = "tls"
	errorNotSupported     = "not_supported"
	errorConnectionFailed = "connection_failed"
	errorConnectionLost   = "connection_lost"
	errorLocal            = "local"
	errorOther            = "_OTHER" // of the semantic conventions
)

// errAborted stands for the error of work that did not return: it panicked, and
// the core will say so. A span ended by defer alone would record the panic's
// value, which may hold anything.
var errAborted error = &core.PanicError{Where: "the work observed"}

// failure is what is said about an error: never its text, in which servers and
// libraries repeat addresses.
type failure struct {
	kind  string // error.type
	stage core.Stage
	class core.Class
	reply core.Reply
}

// explain returns what is said about err. stage is where it happened if the
// error does not know itself.
func explain(err error, stage core.Stage) failure {
	f := failure{stage: stage, class: core.ClassOf(err)}
	if e, ok := errors.AsType[*core.Error](err); ok {
		f.stage, f.reply = e.Stage, e.Reply
	}
	f.kind = kindOf(err, f)
	return f
}

// kindOf returns the value of error.type: the first that applies, what matters
// most to whoever is woken by it first.
func kindOf(err error, f failure) string {
	if _, ok := errors.AsType[*core.PanicError](err); ok {
		return errorPanic
	}
	switch {
	case errors.Is(err, core.ErrUnknownOutcome):
		return errorUnknown
	case f.reply.Code != 0:
		return strconv.Itoa(f.reply.Code)
	case errors.Is(err, context.Canceled):
		return errorCanceled
	case timedOut(err):
		return errorTimeout
	case errors.Is(err, core.ErrProtocol):
		return errorProtocol
	case errors.Is(err, core.ErrTLSRequired), f.stage == core.StageTLS:
		return errorTLS
	case errors.Is(err, core.ErrNotSupported):
		return errorNotSupported
	case f.class == core.Local:
		return errorLocal
	case f.stage == core.StageConnect:
		return errorConnectionFailed
	case errors.Is(err, core.ErrDisconnected):
		return errorConnectionLost
	case f.stage == core.StagePolicy:
		return errorLocal // an interceptor's "not now"
	}
	return errorOther
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// mark says on a span why its work failed, if it did, and returns the value of
// error.type. The status has no description: whatever is safe to say is in the
// attributes.
func mark(span trace.Span, err error, stage core.Stage) (kind string) {
	if err == nil {
		return ""
	}
	f := explain(err, stage)
	if span.IsRecording() {
		span.SetStatus(codes.Error, "")
		attrs := make([]attribute.KeyValue, 0, 5)
		attrs = append(attrs, semconv.ErrorTypeKey.String(f.kind), ErrorStageKey.String(f.stage.String()), ErrorClassKey.String(f.class.String()))
		span.SetAttributes(appendReply(attrs, f.reply)...)
	}
	return f.kind
}

// appendReply appends the codes of a reply, if there was one.
func appendReply(attrs []attribute.KeyValue, r core.Reply) []attribute.KeyValue {
	if r.Code != 0 {
		attrs = append(attrs, ReplyCodeKey.Int(r.Code))
	}
	if r.Enhanced != (core.EnhancedCode{}) {
		attrs = append(attrs, ReplyEnhancedCodeKey.String(r.Enhanced.String()))
	}
	return attrs
}

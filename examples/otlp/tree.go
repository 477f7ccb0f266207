package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/middleware/telemetry"
)

// width is how many characters a line has at most, if the names of spans permit.
const width = 80

// row is a span, drawn.
type row struct {
	name        string // with the branch that leads to it
	trunk       string // what the branch to others looks like where it passes
	start, took time.Duration
	remark      string
}

// drawTraces draws each trace of finished spans as a tree.
func drawTraces(w io.Writer, spans tracetest.SpanStubs) error {
	// Parents first: a parent begins before its children do.
	spans = slices.SortedStableFunc(slices.Values(spans), func(a, b tracetest.SpanStub) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), b.EndTime.Compare(a.EndTime))
	})
	children := make(map[trace.SpanID]tracetest.SpanStubs)
	for _, s := range spans {
		children[s.Parent.SpanID()] = append(children[s.Parent.SpanID()], s)
	}
	for _, root := range children[trace.SpanID{}] {
		rows := appendRows(nil, children, root, root.StartTime, "", "")
		nameWidth := 0
		for _, r := range rows {
			nameWidth = max(nameWidth, utf8.RuneCountInString(r.name))
		}
		lines := []string{"trace " + root.SpanContext.TraceID().String(), "", fmt.Sprintf("  %-*s%10s%10s", nameWidth, "span", "start", "took")}
		for _, r := range rows {
			first := fmt.Sprintf("  %-*s%10s%10s  ", nameWidth, r.name, millis(r.start), millis(r.took))
			for i, part := range wrap(r.remark, width-utf8.RuneCountInString(first)) {
				if i > 0 {
					first = fmt.Sprintf("  %-*s%10s%10s  ", nameWidth, r.trunk, "", "")
				}
				lines = append(lines, strings.TrimRight(first+part, " "))
			}
		}
		if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// appendRows draws a span and those below it. branch leads to the span itself,
// trunk past those below it.
func appendRows(rows []row, children map[trace.SpanID]tracetest.SpanStubs, s tracetest.SpanStub, first time.Time, branch, trunk string) []row {
	below := children[s.SpanContext.SpanID()]
	past := trunk
	if len(below) > 0 {
		past += "│"
	}
	rows = append(rows, row{branch + s.Name, past, s.StartTime.Sub(first), s.EndTime.Sub(s.StartTime), remark(s)})
	for i, child := range below {
		if i == len(below)-1 {
			rows = appendRows(rows, children, child, first, trunk+"└─ ", trunk+"   ")
		} else {
			rows = appendRows(rows, children, child, first, trunk+"├─ ", trunk+"│  ")
		}
	}
	return rows
}

// remark is what is most worth knowing of a span.
func remark(s tracetest.SpanStub) string {
	var list []string
	for _, a := range s.Attributes {
		switch value := a.Value.String(); a.Key {
		case telemetry.DeliveryAttemptsKey:
			list = append(list, "attempts: "+value)
		case telemetry.MessageQueueIDKey:
			if s.Name == telemetry.SpanAttempt {
				list = append(list, "queued as "+value)
			}
		case telemetry.AuthChoiceKey:
			list = append(list, value)
		case telemetry.ConnectionReusedKey:
			list = append(list, map[bool]string{false: "new session", true: "kept session"}[a.Value.AsBool()])
		case semconv.TLSProtocolVersionKey:
			if s.Name == telemetry.SpanTLS {
				list = append(list, "TLS "+value)
			}
		}
	}
	if s.Status.Code == codes.Error {
		list = append(list, strings.TrimSpace("failed: "+attributeOf(s, semconv.ErrorTypeKey)+" "+attributeOf(s, telemetry.ReplyEnhancedCodeKey)))
	}
	return strings.Join(list, ", ")
}

// wrap breaks text into lines of n characters, if its words permit. There is one
// at least.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line+" "+word) > n {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

func attributeOf(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

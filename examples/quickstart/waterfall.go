package main

import (
	"cmp"
	"fmt"
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

// timeWidth is that of each of the two columns of times.
const timeWidth = 9

// waterfall draws spans as bars over time, each below its parent.
type waterfall struct {
	page     *page
	children map[trace.SpanID]tracetest.SpanStubs
	first    time.Time
	whole    time.Duration

	nameWidth, barWidth int
}

// drawSpans draws a waterfall of finished spans.
func drawSpans(p *page, spans tracetest.SpanStubs) {
	if len(spans) == 0 {
		p.line("  no spans")
		return
	}
	w := &waterfall{page: p, children: make(map[trace.SpanID]tracetest.SpanStubs), first: spans[0].StartTime}
	known := make(map[trace.SpanID]bool)
	last := spans[0].EndTime
	for _, s := range spans {
		known[s.SpanContext.SpanID()] = true
		if s.StartTime.Before(w.first) {
			w.first = s.StartTime
		}
		if s.EndTime.After(last) {
			last = s.EndTime
		}
	}
	w.whole = last.Sub(w.first)
	for _, s := range spans {
		parent := s.Parent.SpanID()
		if !known[parent] {
			parent = trace.SpanID{}
		}
		w.children[parent] = append(w.children[parent], s)
	}
	roots := w.under(trace.SpanID{})
	w.nameWidth = min(w.widest(roots, 0)+2, width-2-2*timeWidth-2-10) // bars of ten characters are left
	w.barWidth = width - 2 - w.nameWidth - 2*timeWidth - 2
	p.line("  %s", p.paint(faint, pad("", w.nameWidth)+fmt.Sprintf("%*s%*s", timeWidth, "start", timeWidth, "took")))
	for _, root := range roots {
		w.draw(root, "", "")
	}
}

// under returns the spans below a parent, in order of time.
func (w *waterfall) under(parent trace.SpanID) tracetest.SpanStubs {
	return slices.SortedStableFunc(slices.Values(w.children[parent]), func(a, b tracetest.SpanStub) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), b.EndTime.Compare(a.EndTime))
	})
}

// widest returns how many characters the longest name takes, each level of
// spans being indented by three.
func (w *waterfall) widest(spans tracetest.SpanStubs, indent int) int {
	n := 0
	for _, s := range spans {
		n = max(n, indent+utf8.RuneCountInString(label(s)), w.widest(w.under(s.SpanContext.SpanID()), indent+3))
	}
	return n
}

// draw draws a span and those below it. branch leads to the span itself, trunk
// past those below it.
func (w *waterfall) draw(s tracetest.SpanStub, branch, trunk string) {
	took := s.EndTime.Sub(s.StartTime)
	name := pad(shorten(branch+label(s), w.nameWidth-2), w.nameWidth)
	times := fmt.Sprintf("%*s%*s", timeWidth, millis(s.StartTime.Sub(w.first)), timeWidth, millis(took))
	paint := good
	if s.Status.Code == codes.Error {
		paint = bad
		if strings.HasPrefix(errorType(s), "4") {
			paint = wait // a reply that may change
		}
	}
	before, bar := w.bar(s.StartTime.Sub(w.first), took)
	w.page.line("  %s%s  %s%s", name, w.page.paint(faint, times), before, w.page.paint(paint, bar))
	below := w.under(s.SpanContext.SpanID())
	for i, child := range below {
		if i == len(below)-1 {
			w.draw(child, trunk+"└─ ", trunk+"   ")
		} else {
			w.draw(child, trunk+"├─ ", trunk+"│  ")
		}
	}
}

// bar returns the space before a bar, and the bar. However short, it is seen.
func (w *waterfall) bar(start, took time.Duration) (before, bar string) {
	if w.whole <= 0 {
		return "", "█"
	}
	cell := func(d time.Duration) int { return int(int64(d) * int64(w.barWidth) / int64(w.whole)) }
	from := min(cell(start), w.barWidth-1)
	to := max(cell(start+took), from+1)
	return strings.Repeat(" ", from), strings.Repeat("█", to-from)
}

// label names a span: which attempt it was, and what went wrong, if something
// did.
func label(s tracetest.SpanStub) string {
	text := s.Name
	if n := attributeOf(s, telemetry.AttemptNumberKey); n != "" {
		text += " " + n
	}
	if kind := errorType(s); kind != "" {
		text += " (" + kind + ")"
	}
	return text
}

// errorType returns what the semantic conventions call error.type: here a reply
// code or a word.
func errorType(s tracetest.SpanStub) string { return attributeOf(s, semconv.ErrorTypeKey) }

func attributeOf(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

package telemetry_test

import (
	"reflect"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// attr returns the value of an attribute in a form to compare, or nil.
func attr(attrs []attribute.KeyValue, key attribute.Key) any {
	for _, kv := range attrs {
		if kv.Key == key {
			return kv.Value.AsInterface()
		}
	}
	return nil
}

// wantAttrs compares some attributes; nil says that there must be none.
func wantAttrs(t *testing.T, where string, got []attribute.KeyValue, want map[attribute.Key]any) {
	t.Helper()
	for key, value := range want {
		if have := attr(got, key); !reflect.DeepEqual(have, value) {
			t.Errorf("%s: %s is %v (%T), want %v (%T)", where, key, have, have, value, value)
		}
	}
}

// wantSuccess checks that a span says nothing about an error.
func wantSuccess(t *testing.T, s sdktrace.ReadOnlySpan) {
	t.Helper()
	if s.Status() != (sdktrace.Status{}) {
		t.Errorf("%s: status is %v, want it unset", s.Name(), s.Status())
	}
	wantAttrs(t, s.Name(), s.Attributes(), map[attribute.Key]any{"error.type": nil, "postrider.error.stage": nil, "postrider.error.class": nil})
}

// wantFailure checks that a span says why it failed, and no more.
func wantFailure(t *testing.T, s sdktrace.ReadOnlySpan, kind, stage, class string) {
	t.Helper()
	if want := (sdktrace.Status{Code: codes.Error}); s.Status() != want {
		t.Errorf("%s: status is %v, want an error without a description", s.Name(), s.Status())
	}
	wantAttrs(t, s.Name(), s.Attributes(), map[attribute.Key]any{"error.type": kind, "postrider.error.stage": stage, "postrider.error.class": class})
}

// childOf reports whether a span's parent is another.
func childOf(child, parent sdktrace.ReadOnlySpan) bool {
	return child.Parent().SpanID() == parent.SpanContext().SpanID() && child.SpanContext().TraceID() == parent.SpanContext().TraceID()
}

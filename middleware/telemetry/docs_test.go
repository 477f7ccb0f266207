package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/telemetry"
)

// docTable returns the rows of the table in docs/telemetry.md whose first column
// has the given title: the cells by the titles of their columns, without
// backquotes.
func docTable(t *testing.T, title string) (rows []map[string]string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(strings.ReplaceAll(line, "`", "")), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			columns = nil
		case columns == nil:
			columns = cells
		case columns[0] == title && !strings.HasPrefix(cells[0], "---"):
			row := make(map[string]string)
			for i, c := range columns {
				row[c] = cells[i]
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("docs/telemetry.md has no table that begins with %q", title)
	}
	return rows
}

// everything makes an interceptor report all that it can.
func everything(t *testing.T) *observed {
	t.Helper()
	o := observe(t, telemetry.WithAddresses(), telemetry.WithExchangeSpans())
	serverTLS, clientTLS := certificate(t)
	good := func(c *core.Config) { c.TLS, c.Auth = clientTLS, mechanisms.Password("alice", "tanstaafl") }
	run := func(s *smtpServer) {
		s.tls, s.announce = serverTLS, []string{"AUTH PLAIN", "PIPELINING"}
		client := o.client(serve(t, s), good, interceptors(again(), o.measured(few())))
		_, _ = send(t, client, letter(bob, carol))
		_, _ = send(t, client, letter(bob))
		_, _ = send(t, client, letter(bob, bob, bob))
	}
	run(&smtpServer{})
	run(refuse(carol, "451 4.7.1 greylisted"))
	run(&smtpServer{answer: once("AUTH", "535 5.7.8 wrong")})
	run(&smtpServer{answer: once("MAIL", hangUp)})
	run(&smtpServer{answer: nth(2, "MAIL", hangUp)}) // on a kept session
	return o
}

// few is a limit that no message to three passes.
func few() core.Interceptor {
	return core.Interceptor{Name: "few", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if len(d.Message().To) == 3 {
				return errors.New("too many")
			}
			return next(ctx, d)
		}
	}}
}

func TestTheTableOfSpansIsWhatIsEmitted(t *testing.T) {
	o := everything(t)
	byID := make(map[string]sdktrace.ReadOnlySpan)
	for _, s := range o.spans.Ended() {
		byID[s.SpanContext().SpanID().String()] = s
	}
	parents := make(map[string]map[string]bool)
	have := make(map[string]bool)
	for _, s := range byID {
		parent := "the caller's span"
		if p, ok := byID[s.Parent().SpanID().String()]; ok {
			parent = p.Name()
		}
		if parents[s.Name()] == nil {
			parents[s.Name()] = make(map[string]bool)
		}
		parents[s.Name()][parent] = true
		have[s.Name()+", "+s.SpanKind().String()] = true
	}
	want := make(map[string]bool)
	for _, row := range docTable(t, "span") {
		want[row["span"]+", "+row["kind"]] = true
		documented := strings.Split(row["parent"], " or ")
		slices.Sort(documented)
		if emitted := slices.Sorted(maps.Keys(parents[row["span"]])); !slices.Equal(emitted, documented) {
			t.Errorf("%s: the parents are %q, documented are %q", row["span"], emitted, documented)
		}
	}
	sameSet(t, have, want)

	have, want = make(map[string]bool), make(map[string]bool)
	for _, s := range byID {
		for _, e := range s.Events() {
			have[e.Name+" on "+s.Name()] = true
		}
	}
	for _, row := range docTable(t, "event") {
		want[row["event"]+" on "+row["on"]] = true
	}
	sameSet(t, have, want)
}

func TestTheTableOfAttributesIsWhatIsEmitted(t *testing.T) {
	have, want := make(map[string]bool), make(map[string]bool)
	note := func(place string, attrs []attribute.KeyValue) {
		for _, kv := range attrs {
			have[fmt.Sprintf("%s, %s, on %s", kv.Key, typeName(kv.Value.Type()), place)] = true
		}
	}
	for _, s := range everything(t).spans.Ended() {
		note(placeOf(s.Name()), s.Attributes())
		for _, e := range s.Events() {
			note("event", e.Attributes)
		}
	}
	for _, row := range docTable(t, "attribute") {
		for place := range strings.SplitSeq(row["on"], ", ") {
			want[fmt.Sprintf("%s, %s, on %s", row["attribute"], row["type"], place)] = true
		}
	}
	sameSet(t, have, want)
}

func TestTheTableOfMetricsIsWhatIsEmitted(t *testing.T) {
	have, want := make(map[string]bool), make(map[string]bool)
	for _, m := range everything(t).metrics() {
		instrument, sets := describe(t, m)
		for _, set := range sets {
			for _, kv := range set.ToSlice() {
				have[fmt.Sprintf("%s, %s in %s, with %s", m.Name, instrument, m.Unit, kv.Key)] = true
			}
		}
		if m.Description == "" {
			t.Errorf("%s has no description", m.Name)
		}
	}
	for _, row := range docTable(t, "metric") {
		for key := range strings.SplitSeq(row["attributes"], ", ") {
			want[fmt.Sprintf("%s, %s in %s, with %s", row["metric"], row["instrument"], row["unit"], key)] = true
		}
	}
	sameSet(t, have, want)
}

func TestEverythingThatSemanticConventionsDoNotNameIsInOneNamespace(t *testing.T) {
	conventions := regexp.MustCompile(`^(server|network|tls|error)\.`)
	for _, row := range docTable(t, "attribute") {
		if key := row["attribute"]; !conventions.MatchString(key) && !strings.HasPrefix(key, "postrider.") {
			t.Errorf("%s is in neither", key)
		}
	}
}

// sameSet compares what is emitted with what is documented, in both directions.
func sameSet(t *testing.T, have, want map[string]bool) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if !want[k] {
			t.Errorf("emitted and not documented: %s", k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if !have[k] {
			t.Errorf("documented and not emitted: %s", k)
		}
	}
}

// placeOf returns the word of the documentation for a span.
func placeOf(span string) string {
	switch word := strings.TrimPrefix(span, "smtp "); word {
	case "dial", "greeting", "hello", "tls", "auth":
		return "step"
	default:
		return word
	}
}

func typeName(t attribute.Type) string {
	switch t {
	case attribute.BOOL:
		return "bool"
	case attribute.INT64:
		return "int"
	case attribute.STRING:
		return "string"
	case attribute.INT64SLICE:
		return "int[]"
	case attribute.STRINGSLICE:
		return "string[]"
	}
	return t.String()
}

func describe(t *testing.T, m metricdata.Metrics) (instrument string, sets []attribute.Set) {
	t.Helper()
	switch data := m.Data.(type) {
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
		return "histogram", sets
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
		return "histogram", sets
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
		if !data.IsMonotonic {
			return "updowncounter", sets
		}
		return "counter", sets
	}
	t.Fatalf("%s is a %T", m.Name, m.Data)
	return "", nil
}

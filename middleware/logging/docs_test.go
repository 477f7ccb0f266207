package logging_test

import (
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/logging"
)

// The table of docs/middleware.md has what is logged, on the records that have it.
func TestTheTableOfAttributesIsWhatIsLogged(t *testing.T) {
	page, err := os.ReadFile("../../docs/middleware.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| attribute | on | meaning |\n|---|---|---|\n")
	table, _, ok := strings.Cut(table, "\n\n")
	if !ok {
		t.Fatal("docs/middleware.md has no table of attributes")
	}
	want := make(map[string]bool)
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, "|")
		records := strings.ReplaceAll(cells[2], "all", "delivery, attempt, connect, close")
		for record := range strings.SplitSeq(records, ",") {
			for name := range strings.SplitSeq(cells[1], ",") {
				want[strings.Trim(name, " `")+" on smtp "+strings.TrimSpace(record)] = true
			}
		}
	}

	have := make(map[string]bool)
	names := make(map[string]bool)
	for _, r := range everything(t) {
		for key := range r {
			if !slices.Contains([]string{slog.TimeKey, slog.LevelKey, slog.MessageKey}, key) {
				have[key+" on "+r["msg"].(string)] = true
				names[key] = true
			}
		}
	}
	for _, x := range slices.Sorted(maps.Keys(have)) {
		if !want[x] {
			t.Errorf("%s is logged and not in the table", x)
		}
	}
	for _, x := range slices.Sorted(maps.Keys(want)) {
		if !have[x] {
			t.Errorf("%s is in the table and not logged", x)
		}
	}

	// What telemetry records too is called the same.
	own := []string{"duration", "error", "trace_id", "span_id", "postrider.server.domain", "postrider.attempt.retry"}
	page, err = os.ReadFile("../../docs/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range names {
		if !slices.Contains(own, name) && !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("%s is no name of telemetry's", name)
		}
	}
}

// everything logs all that there is to log.
func everything(t *testing.T) []record {
	t.Helper()
	b := newBook(slog.LevelDebug)
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	options := gossip()
	options.StartTLS, options.Users = true, map[string]string{"rider": "sesame"}
	options.Content = nil
	config := smtptest.NewServer(t, options).Config()
	for _, password := range []string{"sesame", "wrong"} {
		config.Auth = mechanisms.Password("rider", password)
		client := newClient(t, config, mustNew(t, logging.Config{Logger: b.logger, Addresses: true}))
		_, _ = client.Send(ctx, letter(bob, carol))
		_ = client.Shutdown(ctx)
	}
	queued := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{Content: accepts("queued as 4F1B2C3D")}).Config(),
		mustNew(t, logging.Config{Logger: b.logger}), failing())
	_, _ = queued.Send(ctx, letter(bob))
	return b.records(t, "")
}

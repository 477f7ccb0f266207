package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/smtptest"
)

// Each span is a line of JSON on standard error, with its place in the trace.
func TestTrace(t *testing.T) {
	s := smtptest.NewServer(t, picky())
	config := file(t, `{"interceptors":[{"name":"telemetry","exchanges":true}]}`)
	cmd := command(t, to(s.URL(), "-config", config, "-retries", "1", "-to", "busy@example.net", file(t, mail))...)
	var stdout, stderr lockedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // its status is looked at below
	if status := cmd.ProcessState.ExitCode(); status != 75 || strings.Count(stdout.String(), "\n") != 1 {
		t.Errorf("status %d, %s", status, &stdout)
	}
	spans, names := map[string]spanLine{}, map[string]int{}
	for line := range strings.Lines(stderr.String()) {
		if strings.HasPrefix(line, "mailer: ") {
			continue
		}
		var one spanLine
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v in the line %q", err, line)
		}
		spans[one.Span] = one
		names[one.Name]++
		if strings.Contains(line, "example.net") {
			t.Errorf("an address that nobody asked for: %s", line)
		}
	}
	roots := 0
	for _, one := range spans {
		if _, ok := spans[one.Parent]; !ok {
			roots++
		}
	}
	if roots != 1 || len(spans) < 6 {
		t.Errorf("%d of %d spans have no parent: %v", roots, len(spans), names)
	}
	mailer(t, to(s.URL(), "-config", file(t, `{"interceptors":[{"name":"telemetry","to":"x"}]}`), file(t, mail))...).ends(t, 78, `unknown field "to"`)
}

package wire_test

import (
	"net/mail"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// What a plugin sends may be anything. What is taken is a header that others read as
// the same fields, and indexes that there are.
func FuzzReadAdmitted(f *testing.F) {
	for _, a := range []*interceptorv1.Admitted{
		{ReversePath: new(""), WantsReport: true},
		{Fields: []*interceptorv1.Field{{Name: "X-A", Value: strings.Repeat("word ", 40) + "\t \tend"}, {Name: "X-B"}}},
		{Decisions: []*interceptorv1.Decision{{Index: 1, Decision: &interceptorv1.Decision_Refused{Refused: &pluginv1.Failure{}}}}},
	} {
		octets, err := proto.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(octets)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		var a interceptorv1.Admitted
		if proto.Unmarshal(octets, &a) != nil {
			return
		}
		read, err := wire.ReadAdmitted(&a, 3)
		if err != nil {
			return
		}
		for n := range read.Redirected {
			if n < 0 || n >= 3 || read.Refused[n] != nil {
				t.Errorf("index %d", n)
			}
		}
		for n := range read.Refused {
			if n < 0 || n >= 3 {
				t.Errorf("index %d", n)
			}
		}
		m, err := mail.ReadMessage(strings.NewReader(read.Header + "\r\n"))
		if err != nil {
			t.Fatalf("%v: %q", err, read.Header)
		}
		fields := 0
		for _, values := range m.Header {
			fields += len(values)
		}
		if fields != len(a.GetFields()) {
			t.Errorf("%d fields of %d: %q", fields, len(a.GetFields()), read.Header)
		}
		for line := range strings.SplitSeq(read.Header, "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") || line != "" && strings.TrimSpace(line) == "" {
				t.Errorf("the line %q", line)
			}
		}
	})
}

// A report has what an interceptor knows when its next has returned.
func TestReport(t *testing.T) {
	broken := &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: core.ErrDisconnected}
	r := &core.Receipt{Recipients: []core.RecipientResult{
		{Address: "a\xff@example.net"},
		{Address: "b@example.net", Outcome: core.Unknown, Err: core.ErrUnknownOutcome},
		{Address: "c@example.net", Outcome: core.Refused, Reply: core.Reply{Code: 550}, Err: &core.Error{Stage: core.StageRcpt, Class: core.Permanent, Reply: core.Reply{Code: 550, Text: strings.Repeat("no ", 100)}}},
	}}
	report := &interceptorv1.ReportRequest{}
	travel(t, wire.Report("1", r, broken, 30), report)
	for n, want := range []struct {
		outcome core.Outcome
		text    string
	}{
		{core.Deferred, "policy: no connection"},
		{core.Unknown, "outcome unknown: the message m..."},
		{core.Refused, "rcpt: 550 no no no no no no no..."},
	} {
		got := report.GetResults()[n]
		if wire.CoreOutcome(got.GetOutcome()) != want.outcome || got.GetText() != want.text {
			t.Errorf("%v, want %+v", got, want)
		}
	}
	if wire.CoreOutcome(interceptorv1.Outcome_OUTCOME_UNSPECIFIED) != core.Unknown {
		t.Error("what is not known may be accepted")
	}
}

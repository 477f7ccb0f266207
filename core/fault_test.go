package core_test

import (
	"fmt"
	"iter"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// The strongest test: the connection is cut, reset and stalled at every octet of
// a good dialogue, in each direction. The server's store is the oracle, and what
// the client handed over and got is the witness: who is reported accepted has the
// message, once; who is reported refused or deferred does not have it; unknown is
// nobody to whom the end of the content had not begun to be written, or whose
// reply had come; and what had not begun arrives over another connection.
func TestFault_outcomesAgreeWithTheServersStoreWhereverTheConnectionBreaks_J9(t *testing.T) {
	quiet := newQuietSocket(t)
	for _, m := range faultModes(quiet) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			good := m.run(t, fault{kind: faultNone}, nil)
			good.check(t)
			runs, failures := 0, 0
			for f := range good.faults() {
				r := m.run(t, f, good)
				runs++
				problems := r.problems()
				if len(problems) == 0 {
					continue
				}
				t.Errorf("%v: %s\n%v", f, strings.Join(problems, "\n"), r)
				if failures++; failures == 3 {
					t.FailNow()
				}
			}
			t.Logf("%d octets up, %d down, broken %d times", len(good.relay.taps[0].octets(true)), len(good.relay.taps[0].octets(false)), runs)
		})
	}
}

// check says what is wrong with a dialogue that was not broken.
func (r *faultRun) check(t *testing.T) {
	t.Helper()
	problems := r.problems()
	for k, x := range r.results {
		if got, want := outcomes(x.Receipt), r.mode.mails[k].outcomes; got != want || x.Receipt.Attempts != 1 {
			problems = append(problems, fmt.Sprintf("message %d is %s after %d attempts, not %s", k, got, x.Receipt.Attempts, want))
		}
	}
	if len(r.relay.taps) != 1 {
		problems = append(problems, fmt.Sprintf("there are %d connections", len(r.relay.taps)))
	}
	if said := r.relay.taps[0].dialogue(); !strings.Contains(said, r.mode.shows) {
		problems = append(problems, fmt.Sprintf("it is %s, and does not show %s", said, r.mode.shows))
	}
	if len(problems) > 0 {
		t.Fatalf("the dialogue to break: %s\n%v", strings.Join(problems, "\n"), r)
	}
}

// faults yields each way to break a good dialogue.
func (r *faultRun) faults() iter.Seq[fault] {
	up, down := len(r.relay.taps[0].octets(true)), len(r.relay.taps[0].octets(false))
	return func(yield func(fault) bool) {
		for _, kind := range []faultKind{faultCut, faultReset, faultHalf, faultSilence, faultJam} {
			for n := range faultOffsets(up) {
				if !yield(fault{kind, true, n}) {
					return
				}
			}
			if kind == faultJam {
				return // to the client it is silence: there is room between
			}
			for n := range faultOffsets(down) {
				if !yield(fault{kind, false, n}) {
					return
				}
			}
		}
	}
}

// faultOffsets yields each offset in a dialogue. Inside of large content, where
// one octet is like the next, it skips most, unless the environment asks for
// them: POSTRIDER_EVERY_OCTET=1, which takes an hour.
func faultOffsets(total int) iter.Seq[int] {
	every := total < 20_000 || os.Getenv("POSTRIDER_EVERY_OCTET") != ""
	return func(yield func(int) bool) {
		for n := 0; n <= total; n++ {
			if !yield(n) {
				return
			}
			if !every && n > 100 && n < total-50 {
				n = min(n+20_000, total-50)
			}
		}
	}
}

// faultRun is one run of a mode's messages over a connection that breaks.
type faultRun struct {
	mode     *faultMode
	relay    *relay
	messages []*core.Message
	results  []*core.Result // by message
	err      error
	took     time.Duration
	good     *faultRun // the run without a fault
}

// run sends the mode's messages. When it returns nothing of it is running.
func (m *faultMode) run(t *testing.T, f fault, good *faultRun) *faultRun {
	ended := false
	defer func() {
		if !ended { // a goroutine is left, say: whoever says so does not say where
			t.Errorf("%v: it was given up", f)
		}
	}()
	server := &faultServer{protocol: m.protocol, extensions: strings.Fields(m.extensions), stored: map[string][]string{}}
	r := &faultRun{mode: m, relay: &relay{server: server, fault: f, quiet: m.quiet}, good: good}
	for k := range m.mails {
		r.messages = append(r.messages, m.message(k))
	}
	r.results = make([]*core.Result, len(r.messages))
	synctest.Test(t, func(t *testing.T) {
		config := core.Config{Endpoint: "relay://x", Transports: []core.Transport{r.relay}, LocalName: "c.x", MaxSessions: 1, PipelineDepth: m.depth, InlineContent: m.inline}
		c, err := core.NewClient(smtptest.AtDepth(config))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r.err = c.SendAll(t.Context(), r.sequence(), func(x core.Result) {
			if r.results[x.Index] != nil {
				t.Errorf("%v: two results for message %d", f, x.Index)
			}
			r.results[x.Index] = &x
		})
		r.took = time.Since(start)
		_ = c.Close()
		r.relay.running.Wait()
	})
	ended = true
	return r
}

// message makes the k-th message.
func (m *faultMode) message(k int) *core.Message {
	mail, content := m.mails[k], m.contents[k]
	x := &core.Message{From: mail.from + "@x", PerRecipient: strings.Contains(m.extensions, "PRDR"), Body: core.String(content)}
	for _, to := range strings.Fields(mail.to) {
		x.To = append(x.To, core.Recipient{Address: to + "@x"})
	}
	switch {
	case mail.unsized && mail.large:
		x.Body = faultUnsized{x.Body}
	case mail.unsized:
		x.Body = core.Reader(strings.NewReader(content))
	}
	return x
}

// faultUnsized is a body that says nothing of itself.
type faultUnsized struct{ core.Body }

func (faultUnsized) Size() int64 { return -1 }

// sequence hands the messages over as the mode's order says.
func (r *faultRun) sequence() iter.Seq[*core.Message] {
	server, order := r.relay.server, r.mode.order
	return func(yield func(*core.Message) bool) {
		defer server.release()
		for k, m := range r.messages {
			if order.hold == k+1 {
				server.hold()
			}
			if !yield(m) {
				return
			}
			if order.wait {
				synctest.Wait() // until nothing more can be done before the next
			}
			if k == 0 && order.rest > 0 {
				<-time.After(order.rest)
			}
		}
	}
}

// String is the dialogue, for whoever looks into a failure.
func (r *faultRun) String() string {
	var b strings.Builder
	for i, t := range r.relay.taps {
		fmt.Fprintf(&b, "connection %d\n   handed over %.2000q\n   passed %d octets, and came back %.2000q\n", i+1, t.offered, len(t.up.octets), t.heard)
	}
	for k, x := range r.results {
		if x != nil {
			fmt.Fprintf(&b, "message %d: %s, %d attempts: %v\n", k, outcomes(x.Receipt), x.Receipt.Attempts, x.Err)
		}
	}
	fmt.Fprintf(&b, "took %v; stored %.200q", r.took, fmt.Sprint(r.relay.server.stored))
	return b.String()
}

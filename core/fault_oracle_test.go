package core_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/core"
)

// problems lists what is wrong with a run, whatever broke in it.
func (r *faultRun) problems() (list []string) {
	problem := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, line := range r.relay.server.wrong {
		problem("the server was told %q", line)
	}
	if most := r.relay.fault.patience() + r.mode.order.rest; r.took > most {
		problem("it took %v, more than %v", r.took, most)
	}
	if r.good != nil && r.mode.order.wait {
		// What the other direction carries may differ: it goes on.
		if got := r.relay.carried(); len(got) != r.relay.fault.limit || !bytes.HasPrefix(r.good.relay.taps[0].octets(r.relay.fault.up), got) {
			problem("it is not the dialogue that was recorded: %.2000q", got)
		}
	}
	accepted, unopened := 0, 0
	for k, x := range r.results {
		if x == nil {
			problem("message %d has no result", k)
			continue
		}
		if x.Message != r.messages[k] {
			problem("message %d has the result of another", k)
		}
		if (x.Err == nil) != (x.Receipt.Count(core.Accepted) == len(x.Receipt.Recipients)) {
			problem("message %d: error %v does not go with the outcomes", k, x.Err)
		}
		if x.Receipt.Attempts > 1 {
			problem("message %d is charged with %d attempts", k, x.Receipt.Attempts)
		}
		if x.Err == nil {
			accepted++
		}
		whole := 0
		for _, tap := range r.relay.taps {
			if tap.ended(r.mode, k) {
				whole++
			}
		}
		if whole > 1 {
			problem("message %d was written to its end on %d connections", k, whole)
		}
		for i := range x.Receipt.Recipients {
			if err := r.judge(k, i); err != nil {
				problem("%s of message %d: %v", x.Receipt.Recipients[i].Address, k, err)
			}
		}
		if r.good == nil || r.relay.taps[0].hasOffered("MAIL FROM:<"+r.messages[k].From) {
			continue
		}
		// Nothing of it was written on the connection that broke.
		got, want := outcomes(x.Receipt), r.mode.mails[k].outcomes
		switch {
		case got == want && x.Receipt.Attempts == 1 && x.Receipt.Recipients[0].Attempts == 1:
		case !r.relay.taps[0].hasOffered("MAIL") && x.Receipt.Count(core.Deferred) == len(x.Receipt.Recipients) && x.Receipt.Attempts == 0:
			unopened++
		default:
			problem("message %d had not begun, and it is %s after %d attempts, not %s: %v", k, got, x.Receipt.Attempts, want, x.Err)
		}
	}
	if unopened > 1 {
		problem("%d messages are charged for one connection that could not be opened", unopened)
	}
	if (r.err == nil) != (accepted == len(r.results)) {
		problem("%d of %d messages were accepted, and the error is %v", accepted, len(r.results), r.err)
	}
	return list
}

// judge says what is wrong with the outcome of one recipient.
func (r *faultRun) judge(k, i int) error {
	m, x := r.messages[k], &r.results[k].Receipt.Recipients[i]
	to, _, _ := strings.Cut(m.To[i].Address, "@")
	from, _, _ := strings.Cut(m.From, "@")
	stored := r.relay.server.stored[to]
	for _, content := range stored {
		if content != r.mode.contents[k] {
			return fmt.Errorf("it has another content: %.100q", content)
		}
	}
	if len(stored) > 1 {
		return fmt.Errorf("it is %s and has the message %d times: %v", x.Outcome, len(stored), x.Err)
	}
	if x.Address != m.To[i].Address || (x.Err == nil) != (x.Outcome == core.Accepted) {
		return fmt.Errorf("%s is %s with the error %v", x.Address, x.Outcome, x.Err)
	}
	decided, open := false, false
	for n, tap := range r.relay.taps {
		came := tap.heard
		if n > 0 || r.relay.fault.answered() {
			came = tap.down.octets // the client is to hear what the server says
		}
		this := r.mode.decided(came, from, to)
		decided = decided || this
		open = open || !this && tap.ended(r.mode, k)
	}
	if want := strings.Split(r.mode.mails[k].outcomes, "; ")[i]; decided && !strings.HasPrefix(want, x.Outcome.String()) {
		return fmt.Errorf("it is %s, and the server said to the client that it is %s: %v", x.Outcome, want, x.Err)
	}
	if x.Reply.Code != 0 {
		if x.Reply.Text != from && x.Reply.Text != to {
			return fmt.Errorf("it has another's reply: %s", x.Reply)
		}
		if !r.heard(fmt.Sprintf("%d %s", x.Reply.Code, x.Reply.Text)) {
			return fmt.Errorf("its reply was never heard: %s", x.Reply)
		}
	}
	switch x.Outcome {
	case core.Accepted:
		if len(stored) != 1 || !decided || x.Reply.Code != 250 {
			return fmt.Errorf("it is accepted, has the message %d times, and the reply %s", len(stored), x.Reply)
		}
	case core.Unknown:
		if !open || !errors.Is(x.Err, core.ErrUnknownOutcome) {
			return fmt.Errorf("it is unknown outside of its window (has the message %d times): %v", len(stored), x.Err)
		}
	case core.Refused, core.Deferred:
		if len(stored) != 0 {
			return fmt.Errorf("it is %s and has the message: %v", x.Outcome, x.Err)
		}
		if x.Outcome == core.Refused && x.Reply.Code == 0 {
			return fmt.Errorf("it is refused for want of a connection: %v", x.Err)
		}
	default:
		return fmt.Errorf("it is %s", x.Outcome)
	}
	return nil
}

// heard reports whether the client got a line, whole.
func (r *faultRun) heard(line string) bool {
	for _, tap := range r.relay.taps {
		if hasLine(tap.heard, line) {
			return true
		}
	}
	return false
}

func hasLine(octets []byte, line string) bool {
	return bytes.Contains(octets, []byte("\n"+line+"\r\n"))
}

func (t *faultTap) hasOffered(s string) bool { return bytes.Contains(t.offered, []byte(s)) }

// decided reports whether there is a reply that decides about a recipient: to
// RCPT or MAIL, or to the content. With PRDR that is the last one.
func (m *faultMode) decided(replies []byte, from, to string) bool {
	lines := []string{"550 " + to, "550 " + from, "250 " + from, "554 " + from}
	if m.protocol == core.LMTP {
		lines = []string{"550 " + to, "550 " + from, "250 " + to, "452 " + to, "554 " + to}
	}
	return slices.ContainsFunc(lines, func(line string) bool { return hasLine(replies, line) })
}

// ended reports whether a write has begun that holds the last octet of a message
// and of what ends it.
func (t *faultTap) ended(m *faultMode, k int) bool {
	end := fmt.Sprintf("<%d>\r\n", k)
	if !strings.Contains(m.extensions, "CHUNKING") {
		end += ".\r\n"
	}
	return t.hasOffered(end)
}

// dialogue is what the client said: the commands, and the dots that end content,
// of each write.
func (t *faultTap) dialogue() string {
	var b strings.Builder
	for i, from := range t.writes {
		to := len(t.offered)
		if i+1 < len(t.writes) {
			to = t.writes[i+1]
		}
		if i > 0 {
			b.WriteString(" |")
		}
		for line := range strings.Lines(string(t.offered[from:to])) {
			if verb, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " "); verb == "." || len(verb) == 4 && verb == strings.ToUpper(verb) && verb[0] >= 'A' {
				b.WriteString(" " + verb)
			}
		}
	}
	return strings.TrimSpace(b.String())
}

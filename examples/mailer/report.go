package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
)

// reporter prints what becomes of each message, and remembers what the program
// is to say at its end. It is safe for concurrent use.
type reporter struct {
	s       *settings
	out     io.Writer
	secrets redactor
	user    bool // credentials were given
	many    bool // there is more than one message

	mu       sync.Mutex
	waiting  map[int]*result // for those before them, by their place
	next     int             // the place of the next result
	bar      *progress
	status   int
	outcomes map[string]int
	failed   int
	first    string // of what went wrong
	writing  error  // why the results cannot be written
}

func newReporter(s *settings, sys *system, secrets redactor, user bool) *reporter {
	return &reporter{
		s: s, out: sys.stdout, secrets: secrets, user: user, many: len(s.files) > 1,
		bar: newProgress(s, sys), outcomes: map[string]int{}, waiting: map[int]*result{},
	}
}

// sent reports a message that the client has had.
func (p *reporter) sent(j *job, tries int, failed *core.Peer, r core.Result) {
	p.inOrder(j.n, p.newResult(j.name, tries, failed, r.Receipt))
}

// unsent reports the message of the n-th file, which the client has not had; m is
// nil if it could not be read.
func (p *reporter) unsent(n int, m *core.Message, err *core.Error) {
	to := p.s.recipients(p.s.to...)
	if m != nil {
		to = m.To
	}
	p.inOrder(n, p.unsentResult(p.s.files[n], to, err))
}

// inOrder reports the n-th file behind those that come before it, if they are sent
// in order: what cannot be sent waits for the one that is under way.
func (p *reporter) inOrder(n int, r *result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s.concurrency > 1 {
		p.add(r)
		return
	}
	p.waiting[n] = r
	for p.waiting[p.next] != nil {
		p.add(p.waiting[p.next])
		delete(p.waiting, p.next)
		p.next++
	}
}

// goesOn reports whether results can still be written: what is sent and not
// reported would be sent again.
func (p *reporter) goesOn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writing == nil
}

func (p *reporter) add(r *result) {
	p.outcomes[r.Outcome]++
	if r.Error != nil {
		p.status = first(p.status, r.status)
		p.failed++
		if p.first == "" {
			p.first = fmt.Sprintf("%s: %s: %s", r.File, r.Error.Stage, strings.TrimSpace(code(r.Error.Code)+" "+r.Error.Text))
		}
	}
	if text := p.text(r); text != "" && p.writing == nil {
		p.bar.clear()
		_, p.writing = io.WriteString(p.out, text)
	}
	p.bar.step()
}

// text returns what is printed of a message: a line of JSON, or some for people.
// With a bar, only what was not delivered is worth a line to them.
func (p *reporter) text(r *result) string {
	var b strings.Builder
	if p.s.json {
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(r) // a strings.Builder takes everything, and r has nothing that cannot be encoded
		return b.String()
	}
	if r.Outcome == delivered && p.bar.shown() {
		return ""
	}
	fmt.Fprintf(&b, "%s: %s", oneLine(r.File), strings.ReplaceAll(r.Outcome, "_", " "))
	if r.Server != "" {
		fmt.Fprintf(&b, ", %s", r.Server)
	}
	if r.QueueID != "" {
		fmt.Fprintf(&b, ", queued as %s", r.QueueID)
	}
	if r.TLS != nil && r.TLS.problem != "" {
		fmt.Fprintf(&b, ", certificate not verified (%s)", r.TLS.problem)
	}
	b.WriteString("\n")
	if p.many && r.Outcome == delivered {
		return b.String()
	}
	for _, to := range r.Recipients {
		line := fmt.Sprintf("  %-9s %s", to.Outcome, oneLine(to.Address))
		for _, part := range []string{code(to.Code), to.Enhanced, to.Text} {
			if part != "" {
				line += " " + part
			}
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func code(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// end prints the sum of it all and returns what the program ends with.
func (p *reporter) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bar.end()
	if p.many && !p.s.json && p.writing == nil {
		var parts []string
		for _, outcome := range []string{delivered, partial, notDelivered, inDoubt} {
			if n := p.outcomes[outcome]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, strings.ReplaceAll(outcome, "_", " ")))
			}
		}
		_, p.writing = fmt.Fprintf(p.out, "%d messages: %s\n", len(p.s.files), strings.Join(parts, ", "))
	}
	switch {
	case p.writing != nil:
		return &ended{first(p.status, deferred), fmt.Errorf("the results could not all be written, and no further message was begun: %w", p.writing)}
	case p.failed == 0:
		return nil
	case p.many:
		return &ended{p.status, fmt.Errorf("%d of %d messages were not accepted for all recipients; the first: %s", p.failed, len(p.s.files), p.first)}
	}
	return &ended{p.status, errors.New(p.first)}
}

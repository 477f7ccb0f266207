package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/core"
)

// showRecipients writes what became of the message for each recipient, and the
// reply of every attempt.
func showRecipients(ctx context.Context, p *page, receipt *core.Receipt, tries map[int][]try) {
	indent := pad("", len("  accepted  "))
	for i, r := range receipt.Recipients {
		outcome := pad("  "+r.Outcome.String(), len(indent))
		for _, text := range wrap(r.Address, width-len(indent), 0) {
			p.line("%s%s", p.paint(styleOfOutcome(r.Outcome), outcome), text)
			outcome = indent
		}
		rows := tries[i]
		if len(rows) == 0 {
			rows = []try{{0, r}}
		}
		for _, t := range rows {
			attempt := "no attempt"
			if t.attempt > 0 {
				attempt = fmt.Sprintf("attempt %-2d", t.attempt)
			}
			for _, text := range wrap(reason(ctx, t.result), width-len(indent)-len(attempt)-2, 0) {
				p.line("%s%s  %s", indent, p.paint(faint, attempt), p.paint(styleOfOutcome(t.result.Outcome), text))
				attempt = pad("", len(attempt))
			}
		}
	}
}

// reason is what decided an outcome: the server's reply, or what stood in its
// way.
func reason(ctx context.Context, r core.RecipientResult) string {
	if r.Err == nil || r.Reply.Code != 0 {
		return r.Reply.String()
	}
	return because(ctx, r.Err)
}

// because words an error. One that is there because ctx has ended, which can be
// all that it says, is given the cause of that: the signal that came, say.
func because(ctx context.Context, err error) string {
	text, cause := err.Error(), context.Cause(ctx)
	if cause == nil || !errors.Is(err, ctx.Err()) || strings.Contains(text, cause.Error()) {
		return text
	}
	return text + ": " + cause.Error()
}

func styleOfOutcome(o core.Outcome) style {
	switch o {
	case core.Accepted:
		return good
	case core.Deferred, core.Unknown:
		return wait
	case core.Refused:
		return bad
	}
	return plain
}

// showArrivals writes what the embedded server has seen.
func showArrivals(p *page, list []arrival) {
	for _, a := range list {
		p.line("  %s  %d octets over %s, from user %s", a.queueID, a.octets, a.tls, a.user)
		p.line("      to %s", strings.Join(a.to, ", "))
		p.line("      %s", p.paint(good, "DKIM signature of "+a.signature+" verified"))
	}
	if len(list) == 0 {
		p.line("  nothing")
	}
}

// showResult writes the one line that matters most.
func showResult(p *page, receipt *core.Receipt) {
	accepted, all := receipt.Count(core.Accepted), len(receipt.Recipients)
	s := good
	if accepted < all {
		s = bad
	}
	took := fmt.Sprintf("%.2f s", receipt.Elapsed.Seconds())
	p.line("")
	p.line("%s", p.paint(s, fmt.Sprintf("%d of %s accepted, in %s and %s.", accepted, plural(all, "recipient"), plural(receipt.Attempts, "attempt"), took)))
}

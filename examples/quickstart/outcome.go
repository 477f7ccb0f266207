package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
)

// showRecipients writes what became of the message for each recipient, and the
// reply of every attempt.
func showRecipients(p *page, receipt *core.Receipt, tries map[int][]try) {
	longest := 0
	for _, r := range receipt.Recipients {
		longest = max(longest, utf8.RuneCountInString(r.Address))
	}
	for i, r := range receipt.Recipients {
		outcome, address := p.paint(styleOfOutcome(r.Outcome), pad(r.Outcome.String(), 8)), pad(r.Address, longest)
		rows := tries[i]
		if len(rows) == 0 {
			rows = []try{{0, r}}
		}
		for _, t := range rows {
			attempt := "no attempt"
			if t.attempt > 0 {
				attempt = fmt.Sprintf("attempt %-2d", t.attempt)
			}
			room := max(30, width-2-8-2-longest-2-len(attempt)-2)
			for _, text := range wrap(reason(t.result), room) {
				p.line("  %s  %s  %s  %s", outcome, address, p.paint(faint, attempt), p.paint(styleOfOutcome(t.result.Outcome), text))
				outcome, address, attempt = pad("", 8), pad("", longest), pad("", len(attempt))
			}
		}
	}
}

// reason is what decided an outcome: the server's reply, or what stood in its
// way.
func reason(r core.RecipientResult) string {
	if r.Err == nil || r.Reply.Code != 0 {
		return r.Reply.String()
	}
	return r.Err.Error()
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
		p.line("  %s  %d octets over %s, from user %s, to %s", a.queueID, a.octets, a.tls, a.user, strings.Join(a.to, ", "))
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

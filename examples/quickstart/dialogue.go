package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
)

// dialogue is an interceptor that writes down what is said on the wire, and what
// each attempt meant for each recipient. It is made for one message at a time.
type dialogue struct {
	page *page

	mu    sync.Mutex
	due   time.Time     // when retry's last wait is over
	tries map[int][]try // by recipient
}

// session is what is kept with a session.
type session struct {
	secured   bool  // its TLS was mentioned
	mentioned error // the last one that was
}

// try is what one attempt came to for one recipient.
type try struct {
	attempt int
	result  core.RecipientResult
}

func newDialogue(p *page) *dialogue { return &dialogue{page: p, tries: make(map[int][]try)} }

// interceptor returns the interceptor. It belongs last, closest to the wire, so
// that it sees what the others have made of the commands.
func (d *dialogue) interceptor() core.Interceptor {
	return core.Interceptor{Name: "dialogue", Delivery: d.delivery, Connect: d.connect, Attempt: d.attempt, Exchange: d.exchange}
}

func (d *dialogue) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, delivery *core.Delivery) error {
		d.mu.Lock()
		due := d.due
		d.mu.Unlock()
		// Between retry and this interceptor there is only the rate limit that
		// takes its time.
		if late := time.Since(due); !due.IsZero() && late > 10*time.Millisecond {
			d.note("ratelimit has held it back for another %s ms", millis(late))
		}
		return next(ctx, delivery)
	}
}

func (d *dialogue) connect(next core.ConnectFunc) core.ConnectFunc {
	return func(ctx context.Context, c *core.Connect) error {
		d.note("opening %s", c.Endpoint.URL)
		s := &session{}
		c.Set(d, s)
		err := next(ctx, c)
		switch {
		case err == nil:
		case errors.Is(err, s.mentioned):
			d.note("no session")
		default:
			d.note("no session: %s", because(ctx, err))
		}
		return err
	}
}

func (d *dialogue) attempt(next core.AttemptFunc) core.AttemptFunc {
	return func(ctx context.Context, a *core.Attempt) error {
		d.note("attempt %d, to %s", a.Number(), plural(len(a.Recipients()), "recipient"))
		err := next(ctx, a)
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, i := range a.Recipients() {
			d.tries[i] = append(d.tries[i], try{a.Number(), a.Results()[i]})
		}
		return err
	}
}

func (d *dialogue) exchange(next core.ExchangeFunc) core.ExchangeFunc {
	return func(ctx context.Context, x *core.Exchange) error {
		s := x.Value(d).(*session)
		d.mentionTLS(s, x.Peer())
		var lines []said
		for i := range x.Commands {
			lines = append(lines, said{asking, x.Commands[i].String()})
		}
		d.say("C:", lines)
		err := next(ctx, x)
		lines = lines[:0]
		for _, replies := range x.Pairs() {
			for _, reply := range replies {
				lines = append(lines, said{styleOf(reply), reply.String()})
			}
		}
		d.say("S:", lines)
		if err != nil {
			s.mentioned = err
			d.note("%s", because(ctx, err))
		}
		return err
	}
}

// triesOf returns what each attempt came to, by recipient.
func (d *dialogue) triesOf() map[int][]try {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.tries)
}

// pause writes down that retry waits.
func (d *dialogue) pause(_ context.Context, p retry.Pause) {
	d.mu.Lock()
	d.due = time.Now().Add(p.Wait)
	d.mu.Unlock()
	d.note("retry waits %s ms, then tries %s again", millis(p.Wait), plural(p.Recipients, "recipient"))
}

// mentionTLS says once for each session how it is protected.
func (d *dialogue) mentionTLS(s *session, peer *core.Peer) {
	if peer.TLS == nil || s.secured {
		return
	}
	s.secured = true
	verified := "certificate verified for " + peer.ServerName
	if peer.TLSError != nil {
		verified = "certificate NOT verified: " + peer.TLSError.Error()
	}
	d.note("%s, %s, %s", tls.VersionName(peer.TLS.Version), tls.CipherSuiteName(peer.TLS.CipherSuite), verified)
}

// said is one line of the dialogue.
type said struct {
	style style
	text  string
}

// styleOf sets refusals off.
func styleOf(r core.Reply) style {
	switch {
	case r.Temporary():
		return wait
	case r.Permanent():
		return bad
	}
	return saying
}

// margin is what stands in front of a line: the time and who speaks.
const margin = len("  1234.5  C: ")

// say writes what one side said at once: lines that were written together are
// held together by a bracket.
func (d *dialogue) say(who string, lines []said) {
	at := d.page.sinceBegun()
	for i, l := range lines {
		bracket, beside := "", ""
		if len(lines) > 1 {
			bracket, beside = "│ ", "│ "
			switch i {
			case 0:
				bracket = "┌ "
			case len(lines) - 1:
				bracket, beside = "└ ", "  "
			}
		}
		for k, text := range wrap(l.text, width-margin-utf8.RuneCountInString(bracket), 4) {
			speaker := who
			if k > 0 {
				speaker, bracket = "  ", beside
			}
			d.page.line("%s  %s %s%s", d.page.paint(faint, fmt.Sprintf("%8s", at)), d.page.paint(l.style, speaker), d.page.paint(faint, bracket), d.page.paint(l.style, text))
			at = ""
		}
	}
}

// note writes what happens beside the dialogue.
func (d *dialogue) note(format string, args ...any) {
	at := d.page.sinceBegun()
	dash := "--"
	for _, text := range wrap(fmt.Sprintf(format, args...), width-margin, 0) {
		d.page.line("%s  %s", d.page.paint(faint, fmt.Sprintf("%8s", at)), d.page.paint(strong, dash+" "+text))
		at, dash = "", "  "
	}
}

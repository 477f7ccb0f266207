package logging

import (
	"errors"
	"log/slog"

	"github.com/postrider/postrider/core"
)

// tally counts recipients by outcome and finds the worst off.
type tally struct {
	outcomes [core.Unknown + 1]int
	total    int
	worst    *core.RecipientResult
	outcome  core.Outcome // of the worst
	err      error        // why the worst was not accepted
}

// gravity is what is worse. That one is in doubt counts for more than that
// another was refused: somebody may have to look.
var gravity = [core.Unknown + 1]int{core.Accepted: 1, core.Deferred: 2, core.Refused: 3, core.Unknown: 4}

// add counts one recipient. err is what the work returned.
func (t *tally) add(r *core.RecipientResult, err error) {
	outcome, why := r.After(err)
	t.total++
	t.outcomes[outcome]++
	if gravity[outcome] > gravity[t.outcome] {
		t.worst, t.outcome, t.err = r, outcome, why
	}
}

// level returns the highest level of the outcomes.
func (t *tally) level(of func(core.Outcome) slog.Level) (level slog.Level) {
	first := true
	for o, n := range t.outcomes {
		if n == 0 {
			continue
		}
		if l := of(core.Outcome(o)); first || l > level {
			level, first = l, false
		}
	}
	return level
}

// appendCounts appends the counts.
func (t *tally) appendCounts(attrs []slog.Attr) []slog.Attr {
	return append(attrs,
		slog.Int(keyTotal, t.total),
		slog.Int(keyAccepted, t.outcomes[core.Accepted]),
		slog.Int(keyRefused, t.outcomes[core.Refused]),
		slog.Int(keyDeferred, t.outcomes[core.Deferred]),
		slog.Int(keyUnknown, t.outcomes[core.Unknown]),
	)
}

// appendWorst says what became of the recipient that is worst off, and why.
func (l *logger) appendWorst(attrs []slog.Attr, t *tally) []slog.Attr {
	if t.err == nil {
		if t.worst != nil {
			attrs = appendReply(attrs, t.worst.Reply)
		}
		return attrs
	}
	if l.Addresses && t.worst != nil && t.outcome != core.Accepted {
		attrs = append(attrs, slog.String(keyRecipient, t.worst.Address))
	}
	return l.appendError(attrs, t.err, core.StagePolicy)
}

// appendError says why something failed, if it did. stage is where, if the error
// does not know itself.
func (l *logger) appendError(attrs []slog.Attr, err error, stage core.Stage) []slog.Attr {
	if err == nil {
		return attrs
	}
	var reply core.Reply
	if e, ok := errors.AsType[*core.Error](err); ok {
		stage, reply = e.Stage, e.Reply
	}
	attrs = appendReply(attrs, reply)
	attrs = append(attrs, slog.String(keyErrorStage, stage.String()), slog.String(keyErrorClass, core.ClassOf(err).String()))
	if text := l.text(err); text != "" {
		attrs = append(attrs, slog.String(keyError, text))
	}
	return attrs
}

// appendReply appends the codes of a reply, if there was one.
func appendReply(attrs []slog.Attr, r core.Reply) []slog.Attr {
	if r.Code != 0 {
		attrs = append(attrs, slog.Int(keyReplyCode, r.Code))
	}
	if r.Enhanced != (core.EnhancedCode{}) {
		attrs = append(attrs, slog.String(keyEnhancedCode, r.Enhanced.String()))
	}
	return attrs
}

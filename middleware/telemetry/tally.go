package telemetry

import (
	"errors"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/core"
)

// tally counts recipients by outcome and finds the reason that stands for all.
type tally struct {
	outcomes [core.Unknown + 1]int
	total    int
	// reason is why the first recipient was not accepted. That one is in
	// doubt counts for more than that another was refused: somebody may have to
	// look. It is nil if all were accepted.
	reason error
}

// add counts one recipient. err is what the work returned.
func (c *tally) add(r *core.RecipientResult, err error) {
	outcome, why := settled(r, err)
	c.total++
	c.outcomes[outcome]++
	if outcome == core.Unknown && c.outcomes[outcome] == 1 || c.reason == nil {
		c.reason = why
	}
}

// settled returns the outcome of a recipient and the reason for it. One whom an
// interceptor kept from being tried is pending still: what the work returned
// will decide, when all interceptors have returned.
func settled(r *core.RecipientResult, err error) (core.Outcome, error) {
	if r.Outcome != core.Pending {
		return r.Outcome, r.Err
	}
	if err == nil {
		err = core.ErrNextSkipped
	}
	switch {
	case errors.Is(err, core.ErrUnknownOutcome):
		return core.Unknown, err
	case core.ClassOf(err) == core.Temporary:
		return core.Deferred, err
	}
	return core.Refused, err
}

// appendCounts appends the counts.
func (c *tally) appendCounts(attrs []attribute.KeyValue) []attribute.KeyValue {
	return append(attrs,
		RecipientsTotalKey.Int(c.total),
		RecipientsAcceptedKey.Int(c.outcomes[core.Accepted]),
		RecipientsRefusedKey.Int(c.outcomes[core.Refused]),
		RecipientsDeferredKey.Int(c.outcomes[core.Deferred]),
		RecipientsUnknownKey.Int(c.outcomes[core.Unknown]),
	)
}

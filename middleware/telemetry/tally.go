package telemetry

import (
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
	outcome, why := r.After(err)
	c.total++
	c.outcomes[outcome]++
	if outcome == core.Unknown && c.outcomes[outcome] == 1 || c.reason == nil {
		c.reason = why
	}
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

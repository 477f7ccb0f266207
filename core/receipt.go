package core

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Outcome is what became of a message for one recipient.
type Outcome uint8

const (
	// Pending: not yet tried. No receipt that [Client.Send] returned has it.
	Pending Outcome = iota
	// Accepted: the server took responsibility for the message.
	Accepted
	// Refused: it will not, or this side did not send it. Trying the same
	// again is of no use.
	Refused
	// Deferred: not accepted, for a reason that may pass.
	Deferred
	// Unknown: the content was written and the reply to it never came. The
	// server may have accepted it: sending again may deliver twice (RFC 1047).
	Unknown
)

// String returns "accepted", "refused", "deferred", "unknown" or "pending".
func (o Outcome) String() string {
	return [...]string{"pending", "accepted", "refused", "deferred", "unknown"}[min(o, Unknown)]
}

// RecipientResult is the outcome for one recipient.
type RecipientResult struct {
	// Address is as given in the message.
	Address string
	// Outcome is what became of it.
	Outcome Outcome
	// Reply is the reply that decided; its Code is zero if none did.
	Reply Reply
	// Err is nil if the recipient was accepted, else why not.
	Err error
	// Attempts is how many attempts there were for this recipient.
	Attempts int
}

// Receipt is the result of a delivery.
type Receipt struct {
	// Recipients has one result for each recipient, in the message's order.
	Recipients []RecipientResult
	// Reply is the last reply to content, or the zero value.
	Reply Reply
	// Peer is the server of the last attempt, or nil if there was none.
	Peer *Peer
	// Attempts is the number of attempts. A delivery for which no session could
	// be opened had none.
	Attempts int
	// Started is when the delivery began, and Elapsed how long it took.
	Started time.Time
	Elapsed time.Duration
}

// Count returns how many recipients have the outcome.
func (r *Receipt) Count(o Outcome) int {
	if r == nil {
		return 0
	}
	n := 0
	for i := range r.Recipients {
		if r.Recipients[i].Outcome == o {
			n++
		}
	}
	return n
}

// QueueID is that of the last reply to content: see [Reply.QueueID].
func (r *Receipt) QueueID() string {
	if r == nil {
		return "" // there was no message
	}
	return r.Reply.QueueID()
}

// DeliveryError says that not every recipient was accepted. It reaches
// everything that went wrong through errors.Is and errors.As.
type DeliveryError struct {
	// Receipt is the same that [Client.Send] returned.
	Receipt *Receipt
}

// Error lists the outcomes: how many of each, and the first reason.
func (e *DeliveryError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d recipients accepted", e.Receipt.Count(Accepted), len(e.Receipt.Recipients))
	for _, o := range []Outcome{Refused, Deferred, Unknown} {
		if n := e.Receipt.Count(o); n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, o)
		}
	}
	for i, err := range e.Unwrap() {
		if i > 0 {
			b.WriteString("; ...")
			break
		}
		b.WriteString(": ")
		b.WriteString(err.Error())
	}
	return oneLine(b.String())
}

// Unwrap returns the different errors of the recipients, in their order.
func (e *DeliveryError) Unwrap() []error {
	var errs []error
	seen := make(map[*Error]bool)
	for i := range e.Receipt.Recipients {
		err := e.Receipt.Recipients[i].Err
		if err == nil {
			continue
		}
		// What ended a whole transaction stands with each of its recipients.
		if this, ok := errors.AsType[*Error](err); ok {
			if seen[this] {
				continue
			}
			seen[this] = true
		}
		errs = append(errs, err)
	}
	return errs
}

// err derives the error of a delivery from its outcomes.
func (r *Receipt) err() error {
	for i := range r.Recipients {
		if r.Recipients[i].Outcome != Accepted {
			return &DeliveryError{Receipt: r}
		}
	}
	return nil
}

// settle gives a recipient its outcome.
func (r *RecipientResult) settle(o Outcome, reply Reply, err error) {
	r.Outcome, r.Reply, r.Err = o, reply, err
}

// fail gives a recipient the outcome that an error means.
func (r *RecipientResult) fail(err error) {
	var reply Reply
	if e, ok := errors.AsType[*Error](err); ok {
		reply = e.Reply
	}
	r.settle(outcomeOf(err), reply, err)
}

// outcomeOf returns the outcome that an error means.
func outcomeOf(err error) Outcome {
	switch {
	case errors.Is(err, ErrUnknownOutcome):
		return Unknown
	case ClassOf(err) == Temporary:
		return Deferred
	}
	return Refused
}

// After returns the outcome and the reason for it, as an interceptor has them
// when its next has returned err. A recipient whom an interceptor behind it kept
// from being tried is Pending still: err will decide then, when all interceptors
// have returned.
func (r *RecipientResult) After(err error) (Outcome, error) {
	if r.Outcome != Pending {
		return r.Outcome, r.Err
	}
	if err == nil {
		err = ErrNextSkipped
	}
	return outcomeOf(err), err
}

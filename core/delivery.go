package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Delivery is one Send, on its way through the interceptors. It is valid until
// the chain returns.
//
// The core keeps the outcomes. Each call to next tries the recipients that are
// still Pending or Deferred, and only those, so an interceptor that calls it
// again is a retry, and can neither lose a refusal nor mail somebody twice.
type Delivery struct {
	client  *Client
	message *Message
	utf8    bool
	receipt *Receipt
	content settledContent

	last    *settings // of the last attempt's endpoint
	shunned *pool     // on which the session of the last attempt has broken

	once  once // its mutex is held while deliver runs
	ended bool // the chain has returned

	// Kept here so that the usual delivery needs no further memory.
	first Attempt
	own   Receipt
	one   [1]RecipientResult
	due   []int
	due1  [1]int
}

// Message returns the message, which must not be changed, or as [Delivery.Rewrite]
// has left it.
func (d *Delivery) Message() *Message { return d.message }

// Receipt returns the outcomes so far. It must not be changed.
func (d *Delivery) Receipt() *Receipt { return d.receipt }

// Endpoint returns the endpoint of the last attempt. Before the first one it is
// the first of those that the client has.
func (d *Delivery) Endpoint() Endpoint {
	if d.last != nil {
		return d.last.endpoint
	}
	return d.client.endpoints.pools[0].settings.endpoint
}

// Refuse settles the i-th recipient of the message without sending it anything,
// because of err: a suppression list, say. The class of an [*Error] decides
// between Refused and Deferred; of any other error it is Refused. It has no
// effect on a recipient that was accepted or is in doubt.
func (d *Delivery) Refuse(i int, err error) {
	r := &d.receipt.Recipients[i]
	if r.Outcome == Accepted || r.Outcome == Unknown {
		return
	}
	if err == nil {
		err = errors.New("refused by an interceptor")
	}
	r.fail(stageError(StagePolicy, err))
}

// newDelivery makes the state of one Send.
func newDelivery(m *Message) *Delivery {
	d := &Delivery{message: m}
	d.once.often = true
	d.receipt = &d.own
	d.receipt.Started = time.Now()
	if len(m.To) == 1 {
		d.receipt.Recipients, d.due = d.one[:], d.due1[:0]
	} else {
		d.receipt.Recipients, d.due = make([]RecipientResult, len(m.To)), make([]int, 0, len(m.To))
	}
	for i := range m.To {
		d.receipt.Recipients[i].Address = m.To[i].Address
	}
	return d
}

// deliver is the end of the delivery chain: it tries those who have no final
// outcome yet, in as many transactions as the server's limits ask for.
func deliver(ctx context.Context, d *Delivery) error {
	if !d.once.running.TryLock() {
		return localError(StagePolicy, fmt.Errorf("%w in the delivery chain: it is still running", ErrNextTwice), "call next again when it has returned")
	}
	defer d.once.running.Unlock()
	if d.ended {
		return localError(StagePolicy, fmt.Errorf("%w in the delivery chain", ErrNextLate), "to bound the time of next, give it a context with a deadline")
	}
	due := d.due[:0]
	for i := range d.receipt.Recipients {
		if o := d.receipt.Recipients[i].Outcome; o == Pending || o == Deferred {
			due = append(due, i)
		}
	}
	var first error
	for len(due) > 0 {
		rest, err := d.try(ctx, due)
		if first == nil {
			first = err
		}
		due = rest
	}
	return first
}

// try does one attempt, for as many of the recipients as one transaction may
// have, and returns those for whom another one is due at once.
func (d *Delivery) try(ctx context.Context, due []int) (rest []int, err error) {
	s, kept, err := d.client.endpoints.get(ctx, d.shunned)
	if err != nil {
		for _, i := range due {
			r := &d.receipt.Recipients[i]
			switch closed := errors.Is(err, ErrClosed); {
			case r.Outcome == Deferred && (ctx.Err() != nil || closed):
				// The reason that the server gave says more.
			case closed:
				// It is nothing against the message: another client may send it.
				r.fail(&Error{Stage: StageConnect, Class: Temporary, Err: err})
			default:
				r.fail(err)
			}
		}
		return nil, err
	}
	d.due = due
	if most := s.peer.Extensions.rcptMax; most > 0 && most < len(due) {
		d.due, rest = due[:most], due[most:] // RFC 9422 §4
	}
	err = d.attempt(ctx, s, kept)
	return append(d.surplus(), rest...), err
}

// surplus returns the recipients whom the last attempt had too many of. They are
// due at once, in a transaction of their own (RFC 5321 §4.5.3.1.10), if that
// attempt came on. A server that takes another recipient behind one of them has
// another reason to refuse that, unless its enhanced code says that it has not.
func (d *Delivery) surplus() (list []int) {
	cameOn := false
	for _, i := range d.due {
		r := &d.receipt.Recipients[i]
		if r.Outcome == Accepted {
			cameOn = true
			list = slices.DeleteFunc(list, func(i int) bool { return d.receipt.Recipients[i].Reply.Enhanced == EnhancedCode{} })
		}
		if e, ok := errors.AsType[*Error](r.Err); ok && e.Stage == StageRcpt && r.Outcome == Deferred && tooManyRecipients(e.Reply) {
			list = append(list, i)
		}
	}
	if !cameOn {
		return nil
	}
	return list
}

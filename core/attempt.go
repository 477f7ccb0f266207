package core

import (
	"context"
	"errors"
)

// Attempt is one transaction on one session, on its way through the
// interceptors. It is valid until the chain returns.
type Attempt struct {
	delivery *Delivery
	session  *Session
	kept     bool // the session had been used before
	number   int
	t        transaction
	once     once
}

// Number returns which attempt of the delivery this is; the first is 1.
func (a *Attempt) Number() int { return a.number }

// Message returns the message being delivered, which must not be changed.
func (a *Attempt) Message() *Message { return a.delivery.message }

// Recipients returns the indexes into Message().To that this attempt tries. It
// must not be changed.
func (a *Attempt) Recipients() []int { return a.t.due }

// Results returns the results of the whole delivery, by the same indexes: those
// of this attempt are settled once next has returned. It must not be changed.
func (a *Attempt) Results() []RecipientResult { return a.delivery.receipt.Recipients }

// Endpoint returns the endpoint of the session.
func (a *Attempt) Endpoint() Endpoint { return a.session.config.endpoint }

// ContentSize returns how many octets the content has, once next has returned:
// with line ends made right if its form is known, else as its Size says. It is
// -1 if that is unknown, or if it was not come to.
func (a *Attempt) ContentSize() int64 {
	if a.t.body == nil {
		return -1
	}
	if f, ok := formOf(a.t.body); ok {
		return f.Size
	}
	return a.t.body.Size()
}

// Peer returns what is known of the server. It is another one after next if the
// session turned out dead and was replaced.
func (a *Attempt) Peer() *Peer { return a.session.peer }

// Reply returns the last reply to content, once next has returned; its Code is
// zero if there was none.
func (a *Attempt) Reply() Reply { return a.t.final }

// Value returns what a [Connect] interceptor attached to the session with Set.
func (a *Attempt) Value(key any) any { return a.session.values[key] }

// sendAttempt is the end of the attempt chain.
func sendAttempt(ctx context.Context, a *Attempt) error {
	if err := a.once.begin("attempt"); err != nil {
		return err
	}
	defer a.once.finish()
	err := a.watched(ctx)
	if a.stale(ctx) {
		// The server had hung up on the kept session before it said anything
		// to this transaction: nothing was begun, and nobody is charged.
		d := a.delivery
		s, connectErr := connectSession(ctx, d.client.settings, d.client.pipeline, true)
		if connectErr != nil {
			err = connectErr
		} else {
			a.session, a.kept = s, false
			d.receipt.Peer = s.peer
			err = a.watched(ctx)
		}
	}
	a.settle(err)
	return err
}

// watched runs the transaction and has the end of ctx interrupt it.
func (a *Attempt) watched(ctx context.Context) error {
	c := a.session.conn
	c.watch(ctx)
	defer c.unwatch()
	return a.transact(ctx)
}

// transact runs the transaction on the attempt's session.
func (a *Attempt) transact(ctx context.Context) (err error) {
	s, d := a.session, a.delivery
	defer func() {
		if _, ok := err.(*PanicError); ok {
			s.conn.kill(err) // nobody knows where it happened
		}
	}()
	defer contain("the message's body", &err)
	due := a.t.due
	a.t = transaction{s: s, w: &s.own, message: d.message, utf8: d.utf8, results: d.receipt.Recipients, due: due, accepted: s.own.accepted[:0]}
	for _, i := range due {
		d.receipt.Recipients[i].Outcome = Pending
	}
	if a.t.body, err = d.content.settle(ctx, s.pipeline, d.message, s.peer); err != nil {
		return err
	}
	err = a.t.run(ctx)
	s.own.accepted = a.t.accepted[:0]
	return err
}

// stale reports whether a kept session was dead before the server had said
// anything to the transaction.
func (a *Attempt) stale(ctx context.Context) bool {
	s := a.session
	return a.kept && !a.t.heard && s.conn.over() != nil && errors.Is(s.conn.over(), ErrDisconnected) && !a.t.w.outgoing.lastWrite && ctx.Err() == nil
}

// settle gives those an outcome that have none.
func (a *Attempt) settle(err error) {
	for _, i := range a.t.due {
		if r := &a.delivery.receipt.Recipients[i]; r.Outcome == Pending {
			r.fail(stageError(StagePolicy, err))
		}
	}
}

// attempt runs the attempt chain on a session for the recipients in d.due, all
// of which have an outcome afterwards. It returns the session that was used in
// the end.
func (d *Delivery) attempt(ctx context.Context, s *Session, kept bool) (*Session, error) {
	a := &d.first
	if d.receipt.Attempts > 0 || s.pipeline.wrapsAttempt {
		a = &Attempt{} // an interceptor may still hold the last one
	}
	d.receipt.Attempts++
	d.receipt.Peer = s.peer
	*a = Attempt{delivery: d, session: s, kept: kept, number: d.receipt.Attempts}
	a.t.due = d.due
	for _, i := range d.due {
		r := &d.receipt.Recipients[i]
		r.Attempts++
		r.Outcome = Pending
	}
	err := a.once.end("attempt", s.pipeline.attempt(ctx, a), func() { _ = s.conn.raw.Close() })
	if err != nil {
		a.settle(err)
	}
	if a.t.final.Code != 0 {
		d.receipt.Reply = a.t.final
	}
	return a.session, err
}

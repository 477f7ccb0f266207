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
	holds    bool // the session is to be given back to the pool
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

// Endpoint returns the endpoint of the session. It may be another one after next
// if the session turned out dead and was replaced.
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
	err := a.transact(ctx)
	for a.stale(ctx, err) {
		// The server had hung up before it said anything to this transaction,
		// or what others did on the session had ended it: nothing was begun,
		// and nobody is charged.
		if replaceErr := a.replace(ctx); replaceErr != nil {
			err = replaceErr
			break
		}
		err = a.transact(ctx)
	}
	a.settle(err)
	return err
}

// replace gives the session back and gets another one.
func (a *Attempt) replace(ctx context.Context) error {
	a.holds = false
	p := a.session.pool
	s, kept, err := p.replace(ctx, a.session)
	if err != nil {
		s, kept, err = a.delivery.client.endpoints.elsewhere(ctx, p, err)
	}
	if err != nil {
		return err
	}
	a.session, a.kept, a.holds = s, kept, true
	a.delivery.receipt.Peer = s.peer
	return nil
}

// transact runs the transaction on the attempt's session.
func (a *Attempt) transact(ctx context.Context) (err error) {
	s, d, w := a.session, a.delivery, &a.session.own
	if s.line != nil {
		w = s.line.memory()
		defer s.line.release(w)
	} else if a.holds {
		s.conn.watch(ctx)
		defer s.conn.unwatch()
	}
	defer func() {
		if _, ok := err.(*PanicError); ok && s.line == nil {
			s.conn.kill(err) // nobody knows where it happened
		}
	}()
	defer contain("the message's body", &err)
	due := a.t.due
	a.t = transaction{s: s, w: w, message: d.message, utf8: d.utf8, results: d.receipt.Recipients, due: due, accepted: w.accepted[:0]}
	for _, i := range due {
		d.receipt.Recipients[i].Outcome = Pending
	}
	if a.t.body, err = d.content.settle(ctx, s.pipeline, d.message, s.peer); err != nil {
		return err
	}
	err = d.content.blame(a.t.run(ctx))
	w.accepted = a.t.accepted[:0]
	if w.place.left {
		a.holds = false
	}
	return err
}

// stale reports whether nothing of the transaction was begun, because the
// session was dead before the server had said anything to it.
func (a *Attempt) stale(ctx context.Context, err error) bool {
	reason := a.session.conn.over()
	switch {
	case ctx.Err() != nil || !a.holds:
		return false
	case errors.Is(err, errNotBegun):
		return true
	}
	return a.kept && !a.t.heard && errors.Is(reason, ErrDisconnected) && !a.t.lastWrite
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
// of which have an outcome afterwards, and gives the session back.
func (d *Delivery) attempt(ctx context.Context, s *Session, kept bool) error {
	a := &d.first
	if d.receipt.Attempts > 0 || s.pipeline.wrapsAttempt {
		a = &Attempt{} // an interceptor may still hold the last one
	}
	d.receipt.Attempts++
	d.receipt.Peer = s.peer
	*a = Attempt{delivery: d, session: s, kept: kept, holds: true, number: d.receipt.Attempts}
	a.t.due = d.due
	for _, i := range d.due {
		r := &d.receipt.Recipients[i]
		r.Attempts++
		r.Outcome = Pending
	}
	interrupt := func() { _ = s.conn.raw.Close() }
	if s.line != nil && s.pipeline.wrapsAttempt {
		ctx, interrupt = context.WithCancel(ctx)
		defer interrupt()
	}
	defer func() {
		if a.holds {
			a.session.pool.put(a.session)
		}
	}()
	defer func() {
		d.last, d.shunned = a.session.config, nil
		if errors.Is(a.session.conn.over(), ErrDisconnected) {
			d.shunned = a.session.pool
		}
	}()
	err := a.once.end("attempt", s.pipeline.attempt(ctx, a), interrupt)
	if err != nil {
		a.settle(err)
	}
	if a.t.final.Code != 0 {
		d.receipt.Reply = a.t.final
	}
	return err
}

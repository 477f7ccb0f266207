package core

import (
	"context"
)

// Attempt is one transaction on one session, on its way through the
// interceptors. It is valid until the chain returns.
type Attempt struct {
	delivery *Delivery
	session  *Session
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
func (a *Attempt) Recipients() []int { return a.t.todo }

// Results returns the results of the whole delivery, by the same indexes: those
// of this attempt are settled once next has returned. It must not be changed.
func (a *Attempt) Results() []RecipientResult { return a.delivery.receipt.Recipients }

// Peer returns what is known of the server.
func (a *Attempt) Peer() *Peer { return a.session.peer }

// Reply returns the last reply to content, once next has returned; its Code is
// zero if there was none.
func (a *Attempt) Reply() Reply { return a.t.final }

// Value returns what a [Connect] interceptor attached to the session with Set.
func (a *Attempt) Value(key any) any { return a.session.values[key] }

// sendAttempt is the end of the attempt chain.
func sendAttempt(ctx context.Context, a *Attempt) (err error) {
	if err := a.once.begin("attempt"); err != nil {
		return err
	}
	defer func() {
		if _, ok := err.(*PanicError); ok {
			a.session.conn.kill(err) // nobody knows where it happened
		}
	}()
	defer contain("the message's body", &err)
	d := a.delivery
	a.t.body, err = d.content.settle(ctx, a.session.pipeline, d.message, a.session.peer)
	if err != nil {
		return err
	}
	a.session.conn.watch(ctx)
	defer a.session.conn.unwatch()
	return a.t.run(ctx)
}

// attempt runs one attempt on a session and gives every recipient of it an
// outcome.
func (d *Delivery) attempt(ctx context.Context, s *Session, todo []int) (t *transaction, err error) {
	a := &d.first
	if d.receipt.Attempts > 0 || s.pipeline.wrapsAttempt {
		a = &Attempt{} // an interceptor may still hold the last one
	}
	d.receipt.Attempts++
	d.receipt.Peer = s.peer
	*a = Attempt{delivery: d, session: s, number: d.receipt.Attempts}
	a.t = transaction{s: s, message: d.message, utf8: d.utf8, results: d.receipt.Recipients, todo: todo, accepted: s.acceptedBuffer[:0]}
	for _, i := range todo {
		r := &d.receipt.Recipients[i]
		r.Attempts++
		r.Outcome = Pending
	}
	err = s.pipeline.attempt(ctx, a)
	if err == nil {
		err = a.once.end("attempt")
	}
	a.once.close()
	s.acceptedBuffer = a.t.accepted[:0]
	for _, i := range todo {
		if r := &d.receipt.Recipients[i]; r.Outcome == Pending {
			if err == nil {
				err = protocolError(StageContent, "no outcome")
			}
			r.fail(stageError(StagePolicy, err))
		}
	}
	if a.t.final.Code != 0 {
		d.receipt.Reply = a.t.final
	}
	return &a.t, err
}

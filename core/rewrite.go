package core

import (
	"errors"
	"fmt"
)

// Rewrite has the message sent with another envelope: From, To and Params of m,
// and PerRecipient. m is a copy of Message with its changes, and with a To of its
// own:
//
//	m := *d.Message()
//	m.To = slices.Clone(m.To)
//	m.To[0].Address = "bob@example.net"
//	err := d.Rewrite(&m)
//
// From then on Message returns the rewritten one, for all interceptors. The
// recipients are as many as before, each in its place: outcomes stay theirs, and
// [RecipientResult] keeps the address that the message was given with. Content is
// for [Interceptor.Content] to change: Body and Binary have to be the same.
//
// It is for the time before the first attempt, and so for an interceptor in front
// of a retry. Nothing has changed if it returns an error, which is an [*Error] of
// the class Local: that it comes too late, that the envelope is not of the same
// shape, or what [Message.Check] has against it. The slices of m must not change
// until the delivery is over.
func (d *Delivery) Rewrite(m *Message) error {
	// Whoever holds it runs deliver, which reads the message.
	if !d.once.running.TryLock() {
		return localError(StagePolicy, errors.New("an envelope cannot be rewritten while next runs"), "rewrite it before next is called")
	}
	defer d.once.running.Unlock()
	if m == nil {
		return localError(StagePolicy, errors.New("no message to rewrite the envelope with"), "")
	}
	same, known := sameBody(m.Body, d.message.Body)
	switch {
	case d.ended:
		return localError(StagePolicy, errors.New("an envelope cannot be rewritten when the delivery is over"), "rewrite it before next is called")
	case d.receipt.Attempts > 0:
		return localError(StagePolicy, errors.New("an envelope cannot be rewritten behind an attempt"), "put the interceptor in front of the one that tries again")
	case len(m.To) != len(d.message.To):
		return localError(StagePolicy, fmt.Errorf("the rewritten envelope has %d recipients, and the message %d", len(m.To), len(d.message.To)), "refuse a recipient with Delivery.Refuse, and send another message to others")
	case known && !same || m.Binary != d.message.Binary:
		return localError(StagePolicy, errors.New("the rewritten message has another content"), "change content in Interceptor.Content")
	}
	rewritten := *m
	utf8, err := rewritten.check()
	if err != nil {
		return err
	}
	rewritten.Body = d.message.Body
	d.message, d.utf8 = &rewritten, utf8
	return nil
}

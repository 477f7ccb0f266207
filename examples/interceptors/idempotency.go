package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/core"
)

// Why a recipient is not sent a message again.
var (
	errSent    = errors.New("a message with this key was accepted before: nothing was sent")
	errRunning = errors.New("a message with this key is being sent: ask again when that is over")
)

// messageKey is the key of a message's key in its context.
type messageKey struct{}

// withKey gives the message that is sent with the context a key. Whoever sends it
// again, because he did not hear what became of it, gives it the same.
func withKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, messageKey{}, key)
}

// keyOf returns the key that withKey gave.
func keyOf(ctx context.Context, _ *core.Message) string {
	key, _ := ctx.Value(messageKey{}).(string)
	return key
}

// idempotency sends a message with a key to each of its recipients once. Those
// who were not accepted get it the next time, the others errSent. Messages
// without a key pass. Put it before a retry. keyOf is one way to know the key; the
// messages of a SendAll share a context, so there it has to be another.
//
// An outcome that is Unknown is kept, and is the outcome of the next time too:
// the server may have the message. Whoever wants to risk sending it twice gives
// it another key. Of two at the same time, the second is refused with errRunning:
// if it waited, two messages to the same people could wait for each other; and a
// recipient who is deferred is one whom next tries.
func idempotency(s store, key func(context.Context, *core.Message) string) core.Interceptor {
	return core.Interceptor{Name: "idempotency", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) (err error) {
			name := key(ctx, d.Message())
			if name == "" {
				return next(ctx, d)
			}
			claims := map[int]string{} // by the recipient's index
			defer func() { err = errors.Join(err, settle(ctx, s, d.Receipt(), claims)) }()
			times := map[string]int{} // an address may stand there more than once
			for i, to := range d.Message().To {
				times[to.Address]++
				claim := fmt.Sprintf("%q %q %d", name, to.Address, times[to.Address])
				was, err := s.claim(ctx, claim)
				switch {
				case err != nil:
					return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: fmt.Errorf("the store of keys: %w", err)}
				case was == free:
					claims[i] = claim
				case was == sent:
					d.Refuse(i, errSent)
				case was == running:
					d.Refuse(i, errRunning)
				default:
					d.Refuse(i, fmt.Errorf("%w, when a message with this key was sent before", core.ErrUnknownOutcome))
				}
			}
			return next(ctx, d)
		}
	}}
}

// settle tells the store what became of the claims. It does so also when the
// context has ended, since they would stay for good.
func settle(ctx context.Context, s store, r *core.Receipt, claims map[int]string) error {
	var errs []error
	for i, claim := range claims {
		became := free
		switch r.Recipients[i].Outcome {
		case core.Accepted:
			became = sent
		case core.Unknown:
			became = inDoubt
		}
		errs = append(errs, s.settle(context.WithoutCancel(ctx), claim, became))
	}
	return errors.Join(errs...)
}

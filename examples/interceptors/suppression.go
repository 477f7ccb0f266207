package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/core"
)

// errSuppressed is why a recipient on the list was refused.
var errSuppressed = errors.New("on the suppression list")

// suppression refuses the recipients who are on a list: they have unsubscribed,
// or their mailbox is gone. The others get their mail. Put it before a retry.
//
// listed is called for each recipient, concurrently, with the address as normal
// returns it. When it fails, nobody gets the message, and a later try is worth it:
// mail to somebody who does not want it cannot be taken back.
func suppression(listed func(ctx context.Context, address string) (bool, error)) core.Interceptor {
	return core.Interceptor{Name: "suppression", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			for i, to := range d.Message().To {
				yes, err := listed(ctx, normal(to.Address))
				if err != nil {
					return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: fmt.Errorf("the suppression list: %w", err)}
				}
				if yes {
					d.Refuse(i, errSuppressed)
				}
			}
			return next(ctx, d) // which opens nothing if nobody is left
		}
	}}
}

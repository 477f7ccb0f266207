package main

import (
	"context"
	"fmt"

	"github.com/postrider/postrider/core"
)

// mostRecipients is how many a message may have.
const mostRecipients = 50

// newAudience returns an interceptor that refuses large audiences: there are
// better ways to send a newsletter.
func newAudience() core.Interceptor {
	return core.Interceptor{Name: "audience", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if n := len(d.Message().To); n > mostRecipients {
				return fmt.Errorf("%d recipients, and %d are allowed", n, mostRecipients)
			}
			return next(ctx, d)
		}
	}}
}

// newAutoSubmitted returns an interceptor that says that no human has written
// the message, so that no vacation notice answers it (RFC 3834 §5).
func newAutoSubmitted() core.Interceptor {
	return core.Interceptor{Name: "auto-submitted", Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			c.Prepend("Auto-Submitted: auto-generated\r\n")
			return next(ctx, c)
		}
	}}
}

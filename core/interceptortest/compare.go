package interceptortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/postrider/postrider/core"
)

func takeReplies(x *core.Exchange) any { return slices.Clone(x.Replies) }

func compareReplies(left any, x *core.Exchange) error {
	if replies := left.([]core.Reply); !slices.Equal(replies, x.Replies) {
		return fmt.Errorf("the replies were %q, and are %q when it has returned", replies, x.Replies)
	}
	return nil
}

func takeResults(a *core.Attempt) any { return slices.Clone(a.Results()) }

func compareResults(left any, a *core.Attempt) error {
	for i, was := range left.([]core.RecipientResult) {
		if is := a.Results()[i]; is.Outcome != was.Outcome || is.Reply != was.Reply {
			return fmt.Errorf("the result of %s was %s, and is %s when it has returned", was.Address, describe(was), describe(is))
		}
	}
	return nil
}

func takeReceipt(d *core.Delivery) any { return slices.Clone(d.Receipt().Recipients) }

// compareReceipt lets a delivery refuse those who are deferred: Refuse is there
// for that.
func compareReceipt(left any, d *core.Delivery) error {
	for i, was := range left.([]core.RecipientResult) {
		is := d.Receipt().Recipients[i]
		final := was.Outcome == core.Accepted || was.Outcome == core.Unknown || was.Outcome == core.Refused
		if (final || is.Outcome == core.Accepted) && (is.Outcome != was.Outcome || is.Reply != was.Reply) {
			return fmt.Errorf("the result of %s was %s, and is %s when it has returned", was.Address, describe(was), describe(is))
		}
	}
	return nil
}

// lookAtBody compares a body with what it says of itself. One that can be read
// only once is not touched.
func lookAtBody(ctx context.Context, c *core.Content) (string, error) {
	body := c.Body
	if body == nil {
		return ruleBody, errors.New("the body is nil")
	}
	if core.OneShot(body) {
		return "", nil
	}
	octets, err := read(ctx, body)
	if err != nil {
		if ctx.Err() != nil {
			return "", nil
		}
		return ruleBody, fmt.Errorf("the body cannot be read: %w", err)
	}
	again, err := read(ctx, body)
	if err != nil || !bytes.Equal(octets, again) {
		return ruleBody, fmt.Errorf("the body yields %d octets when it is opened first, and something else when it is opened again: %d octets, and the error %v", len(octets), len(again), err)
	}
	if n := body.Size(); n >= 0 && n != int64(len(octets)) {
		return ruleBody, fmt.Errorf("the body yields %d octets, and its Size says %d", len(octets), n)
	}
	former, ok := body.(core.Former)
	if !ok {
		return "", nil
	}
	form, known := former.Form()
	really, _ := core.Bytes(octets).(core.Former).Form()
	if known && form != really {
		return ruleBody, fmt.Errorf("the body has the form %+v, and its Form says %+v", really, form)
	}
	return "", nil
}

func read(ctx context.Context, body core.Body) ([]byte, error) {
	r, err := body.Open(ctx)
	if err != nil {
		return nil, err
	}
	octets, err := io.ReadAll(r)
	return octets, errors.Join(err, r.Close())
}

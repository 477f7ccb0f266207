package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Client delivers messages to an endpoint, or to one of several: it keeps a few
// sessions and runs every message through its pipeline. It is safe for concurrent use. Close it
// when it is no longer needed.
type Client struct {
	pipeline  *pipeline
	endpoints *endpoints
}

// NewClient checks the configuration and returns a client. It opens nothing:
// the first message does. The error is an [*Error] of the stage config and says
// what to change.
func NewClient(config Config) (*Client, error) {
	list, err := config.check()
	if err != nil {
		return nil, err
	}
	p, err := newPipeline(config.Interceptors)
	if err != nil {
		return nil, configError(err)
	}
	if len(list) > 1 && p.breaker == nil {
		return nil, configError(errors.New("Config.Endpoints has several endpoints, and no interceptor has a Breaker, without which every message tries those that are down: add the one of package middleware/breaker"))
	}
	e, err := newEndpoints(list, p)
	if err != nil {
		return nil, configError(err)
	}
	return &Client{pipeline: p, endpoints: e}, nil
}

// Send delivers a message and says what became of it for each recipient.
//
// The error is nil if and only if every recipient was accepted; otherwise it is
// a [*DeliveryError], through which errors.Is and errors.As reach every reason.
// The receipt is never nil when there was a message. If ctx ends, Send returns
// at once; whether the message was accepted may then be Unknown.
//
// The message must not change while Send runs. Reading its body is bounded by
// ctx alone, and a body whose Read blocks keeps Send from returning until its
// Close makes Read return.
func (c *Client) Send(ctx context.Context, m *Message) (*Receipt, error) {
	if m == nil {
		return nil, localError(StagePolicy, errors.New("no message"), "")
	}
	d := newDelivery(m)
	d.client = c
	utf8, err := m.check()
	if err == nil && ctx.Err() != nil {
		err = &Error{Stage: StageConnect, Class: Temporary, Err: contextError(ctx)}
	}
	if err == nil {
		d.utf8 = utf8
		err = c.deliver(ctx, d)
	}
	return d.finish(err)
}

// deliver runs the delivery chain. When it returns, nothing of it is running any
// more, whatever interceptors do.
func (c *Client) deliver(ctx context.Context, d *Delivery) error {
	err := c.pipeline.deliver(ctx, d)
	d.once.running.Lock() // waits if an interceptor has returned before next
	d.ended = true
	d.once.running.Unlock()
	return err
}

// finish settles whoever was not even tried, and derives the error from the
// outcomes.
func (d *Delivery) finish(err error) (*Receipt, error) {
	for i := range d.receipt.Recipients {
		r := &d.receipt.Recipients[i]
		if r.Outcome != Pending {
			continue
		}
		if err == nil {
			who := "a delivery interceptor"
			if where := d.once.skipped.Load(); where != nil {
				who = *where
			}
			err = localError(StagePolicy, fmt.Errorf("%s %w", who, ErrNextSkipped), "a delivery interceptor returns an error, or refuses every recipient, instead of calling next")
		}
		r.fail(stageError(StagePolicy, err))
	}
	d.receipt.Elapsed = time.Since(d.receipt.Started)
	if len(d.receipt.Recipients) == 0 {
		return d.receipt, err // there is nobody whose outcome it could be
	}
	return d.receipt, d.receipt.err()
}

// Connect makes sure that a message would find a session: it takes an idle one,
// or has one opened, with the endpoint that a message would go to, and leaves it
// to the next message. It says why there is none: to know at once, when a
// program starts, that the address or the password is wrong. A server that has
// gone away since it was last heard of may not be noticed.
func (c *Client) Connect(ctx context.Context) error {
	if ctx.Err() != nil {
		return &Error{Stage: StageConnect, Class: Temporary, Err: contextError(ctx)}
	}
	s, _, err := c.endpoints.get(ctx, nil)
	if err == nil {
		s.pool.untouched(s)
	}
	return err
}

// Pipeline returns the names of the interceptors, the outermost first.
func (c *Client) Pipeline() []string { return append([]string(nil), c.pipeline.names...) }

// Close refuses new work, says QUIT on the sessions that are idle and closes
// them, for which it waits at most Timeouts.Quit. A session in use is closed when
// its message is done, for which Close does not wait: see [Client.Shutdown]. It
// may be called more than once.
func (c *Client) Close() error {
	c.endpoints.close()
	return nil
}

// Shutdown refuses new work, waits until the messages that have a session are
// done, says QUIT on each session and closes it. When it returns, there is no
// session, no connection and no goroutine left.
//
// When ctx ends before that, what is left is cut off: the messages on it end
// with [ErrDisconnected], or in doubt, and the error of Shutdown says why. A
// message that has no session when Shutdown is called, or asks for one later, is
// deferred with [ErrClosed]; one that waits for its next attempt does so when the
// wait is over, so end its context if that may be long. SendAll takes no further
// message.
func (c *Client) Shutdown(ctx context.Context) error { return c.endpoints.shutdown(ctx) }

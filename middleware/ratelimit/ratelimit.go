// Package ratelimit keeps a client to a number of messages and recipients per
// interval, for all messages together or for each key that a function of the
// caller's finds in a message.
//
// The limits are token buckets of golang.org/x/time/rate in this process. A
// limit that several processes share, in Redis say, takes their place through
// [Limiter].
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/core"
)

// Name is the name of the interceptor. A client with two of them, keyed
// differently, gives the second another name: set the field Name of what [New]
// returned.
const Name = "ratelimit"

// DefaultMaxKeys is how many keys are remembered when [Config] does not say:
// about 5 MB.
const DefaultMaxKeys = 10_000

// Rate is a number per interval. The zero value sets no limit.
type Rate struct {
	// Count is how many there may be per interval.
	Count int
	// Per is the interval.
	Per time.Duration
	// Burst is how many may come at once after a pause, on top of which they come
	// evenly spaced, Count per interval. Zero means 1, so that no interval of the
	// length Per sees more than Count and one. With a Burst of Count it may see
	// twice as many.
	Burst int
}

// Config says what the limits are. The zero value sets none, and is refused.
type Config struct {
	// Messages limits how many messages are tried.
	Messages Rate
	// Recipients limits how many recipients are tried. A message is not divided:
	// one with more recipients than Burst waits until there was time for all of
	// them, so a Burst of what a usual message has is a good choice.
	Recipients Rate

	// Key returns what a message is counted under, its sender's domain say. Each
	// key has limits of its own. Nil counts all messages together. It is called
	// concurrently.
	Key func(*core.Message) string
	// MaxKeys is how many keys are remembered; beyond, the one that was used
	// longest ago is forgotten, and begins anew with its whole Burst if it comes
	// back. Zero means 10,000.
	MaxKeys int

	// Refuse makes a message that is over the limit fail at once. Otherwise it
	// waits for its turn, for as long as its context permits. A message with more
	// recipients than Recipients.Burst never has its turn then: its error is not
	// temporary but local.
	Refuse bool

	// Limiter decides in the place of Messages, Recipients and MaxKeys, which
	// are left zero.
	Limiter Limiter
}

// New returns an interceptor that wraps deliveries. Given to several clients, it
// is one limit for them all.
//
// What is counted depends on its place in the list. Behind a retry it counts each
// try, with the recipients that are tried, which is what a server sees. Before
// it, it counts each message once, and the waits of the retry are no part of it.
//
// The error of a delivery that was stopped is an [*core.Error] of the stage
// policy and of the class temporary. It leads to a [*LimitError] if the limit was
// the reason, or to the context's error if that ended during the wait. A wait
// that would outlast the context's deadline is not begun: the delivery fails at
// once. A message that leaves during its wait gives its place back, as far as
// those behind it do not already count on their own.
func New(config Config) (core.Interceptor, error) {
	limiter, err := config.limiter()
	if err != nil {
		return core.Interceptor{}, &core.Error{Stage: core.StageConfig, Class: core.Local, Err: fmt.Errorf("ratelimit: %w", err)}
	}
	return core.Interceptor{Name: Name, Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			receipt := d.Receipt()
			r := Request{Messages: 1, Recipients: receipt.Count(core.Pending) + receipt.Count(core.Deferred), Refuse: config.Refuse}
			if r.Recipients == 0 {
				return next(ctx, d) // nobody is left to be tried
			}
			if config.Key != nil {
				r.Key = config.Key(d.Message())
			}
			if err := limiter.Take(ctx, r); err != nil {
				if _, ok := errors.AsType[*core.Error](err); ok {
					return err // it knows better
				}
				return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: err}
			}
			return next(ctx, d)
		}
	}}, nil
}

// limiter checks the configuration and returns what decides.
func (c *Config) limiter() (Limiter, error) {
	if c.Limiter != nil {
		if c.Messages != (Rate{}) || c.Recipients != (Rate{}) || c.MaxKeys != 0 {
			return nil, errors.New("Config.Limiter is in the place of Messages, Recipients and MaxKeys: leave them zero")
		}
		return c.Limiter, nil
	}
	if err := c.Messages.check("Messages"); err != nil {
		return nil, err
	}
	if err := c.Recipients.check("Recipients"); err != nil {
		return nil, err
	}
	switch {
	case c.Messages.Count == 0 && c.Recipients.Count == 0:
		return nil, errors.New("no limit is set: set Config.Messages or Config.Recipients, to ratelimit.Rate{Count: 100, Per: time.Minute} for example, or Config.Limiter")
	case c.MaxKeys < 0:
		return nil, errors.New("Config.MaxKeys is negative")
	case c.MaxKeys != 0 && c.Key == nil:
		return nil, errors.New("Config.MaxKeys is set and Key is not")
	case c.Key == nil:
		return newBucket(c.Messages, c.Recipients), nil
	}
	maxKeys := c.MaxKeys
	if maxKeys == 0 {
		maxKeys = DefaultMaxKeys
	}
	return newKeyed(maxKeys, func() *bucket { return newBucket(c.Messages, c.Recipients) }), nil
}

func (r Rate) check(field string) error {
	switch {
	case r == Rate{}:
		return nil
	case r.Count <= 0:
		return fmt.Errorf("Config.%s.Count is %d: set it to how many there may be per interval", field, r.Count)
	case r.Per <= 0:
		return fmt.Errorf("Config.%s.Per is %v: set it to the interval, time.Minute for example", field, r.Per)
	case r.Burst < 0:
		return fmt.Errorf("Config.%s.Burst is negative", field)
	}
	return nil
}

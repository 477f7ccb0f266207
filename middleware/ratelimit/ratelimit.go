// Package ratelimit keeps a client to a number of messages, recipients and
// octets per interval, and to a number of transactions at a time: for everything
// together, or for each endpoint, sender, recipient's domain or whatever a
// function of the caller's makes of a recipient.
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

// Defaults of [Config].
const (
	// DefaultMaxKeys takes about 5 MB.
	DefaultMaxKeys  = 10_000
	DefaultRecovery = 10 * time.Minute
)

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
	//
	// A message is not divided. What has more than Burst, of recipients or of
	// octets, goes when a whole Burst has been saved up, and what comes next
	// waits until the rest is made good.
	Burst int
}

// Config says what the limits are. The zero value sets none, and is refused.
type Config struct {
	// Messages limits how many transactions are begun.
	Messages Rate
	// Recipients limits how many recipients are tried.
	Recipients Rate
	// Bytes limits how many octets of content are sent. A message counts with
	// its body's Size before it goes, and with the rest once it has gone: what
	// interceptors add, and all of it if the size was not known. A body whose
	// size nobody knows even then ([core.Attempt.ContentSize] is -1), as that of
	// core.Reader, counts as none.
	Bytes Rate
	// Concurrent is how many messages are under way at a time, each with one
	// transaction. Zero sets no limit.
	Concurrent int

	// Key returns what a recipient of a message is counted under: [ByEndpoint],
	// [BySender], [BySenderDomain], [ByRecipientDomain] or a function of your
	// own. Each key has limits of its own. A message whose recipients have
	// several keys counts as one under each of them, with those recipients, and
	// goes when all of them let it. Nil counts all together. It is called
	// concurrently, for each recipient that is to be tried.
	Key func(d *core.Delivery, to core.Recipient) string
	// MaxKeys is how many keys are remembered; beyond, the one is forgotten that
	// was used longest ago and has no message under way or waiting. It begins
	// anew with its whole Burst if it comes back. Zero means 10,000.
	MaxKeys int

	// Refuse makes a message that is over the limit fail at once. Otherwise it
	// waits for its turn, in the order of arrival, for as long as its context
	// permits.
	Refuse bool

	// Adaptive has the limits of a key follow what the server says. When it
	// asks to come slower (a reply 421, or 450 or 451 with an enhanced code
	// X.7.X that does not speak of greylisting) all limits of the key are
	// halved, down to a sixteenth, and what was saved up of a Burst is lost.
	// Messages that were under way already halve them no further.
	Adaptive bool
	// Recovery is how long halved limits take to be whole again if the server
	// does not complain: they rise evenly, by sixteenths. Zero means ten
	// minutes.
	Recovery time.Duration
	// Notify, if it is not nil, is called when the limits of a key have been
	// changed by Adaptive. It is called concurrently and must not block. No
	// delivery fails by a panic in it.
	Notify func(context.Context, Change)

	// Limiter decides in the place of all limits, MaxKeys and Adaptive, which
	// are left zero.
	Limiter Limiter
}

// Change is a change of the limits of a key.
type Change struct {
	// Key is the key, or "".
	Key string
	// Factor is the part of the configured limits that holds from now on: from
	// 1/16 to 1. Of Concurrent it leaves one at least.
	Factor float64
	// Reply is what the server said. Its Code is zero if the limits rise.
	Reply core.Reply
}

// New returns an interceptor that wraps deliveries. Given to several clients, it
// is one limit for them all.
//
// What is counted depends on its place in the list. Behind a retry it counts each
// try, with the recipients that are tried, which is what a server sees. Before
// it, it counts each message once, and a message is under way also while the
// retry waits.
//
// While a message waits here, it has no session. One that is cancelled leaves
// nothing behind: those behind it move up.
//
// The error of a delivery that was stopped is an [*core.Error] of the stage
// policy and of the class temporary. It leads to a [*LimitError] if the limit was
// the reason, or to the context's error if that ended during the wait. A wait
// that would outlast the context's deadline is not begun: the delivery fails at
// once.
func New(config Config) (core.Interceptor, error) {
	if err := config.check(); err != nil {
		return core.Interceptor{}, &core.Error{Stage: core.StageConfig, Class: core.Local, Err: fmt.Errorf("ratelimit: %w", err)}
	}
	g := newGate(config)
	i := core.Interceptor{Name: Name, Delivery: g.delivery}
	if g.sizes && g.finisher != nil {
		i.Attempt = g.attempt
	}
	return i, nil
}

// check refuses what cannot be meant.
func (c *Config) check() error {
	if c.Limiter != nil {
		if c.Messages != (Rate{}) || c.Recipients != (Rate{}) || c.Bytes != (Rate{}) || c.Concurrent != 0 || c.MaxKeys != 0 || c.Adaptive || c.Recovery != 0 || c.Notify != nil {
			return errors.New("Config.Limiter is in the place of Messages, Recipients, Bytes, Concurrent, MaxKeys, Adaptive, Recovery and Notify: leave them zero")
		}
		return nil
	}
	for _, f := range []struct {
		name string
		rate Rate
	}{{"Messages", c.Messages}, {"Recipients", c.Recipients}, {"Bytes", c.Bytes}} {
		if err := f.rate.check(f.name); err != nil {
			return err
		}
	}
	switch {
	case c.Concurrent < 0:
		return errors.New("Config.Concurrent is negative")
	case c.Messages.Count == 0 && c.Recipients.Count == 0 && c.Bytes.Count == 0 && c.Concurrent == 0:
		return errors.New("no limit is set: set Config.Messages, to ratelimit.Rate{Count: 100, Per: time.Minute} for example, Recipients, Bytes or Concurrent, or Config.Limiter")
	case c.MaxKeys < 0:
		return errors.New("Config.MaxKeys is negative")
	case c.MaxKeys != 0 && c.Key == nil:
		return errors.New("Config.MaxKeys is set and Key is not")
	case c.Recovery < 0:
		return errors.New("Config.Recovery is negative")
	case !c.Adaptive && (c.Recovery != 0 || c.Notify != nil):
		return errors.New("Config.Recovery or Notify is set and Adaptive is not")
	}
	return nil
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

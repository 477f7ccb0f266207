// Package retry tries a message again for the recipients that a server has
// deferred, with the waits of github.com/cenkalti/backoff/v4 in between.
//
// Only recipients whose outcome is [core.Deferred] are tried again. One that
// was refused stays refused, one that is [core.Unknown] may have the message
// already and is left alone, and what this side refused, it would refuse again.
//
// The waiting happens inside [core.Client.Send]. That suits what passes within
// seconds or minutes: a lost connection, a full server, a rate limit. For a
// server that wants hours, keep the message in a queue and send it anew.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/postrider/postrider/core"
)

// Name is the name of the interceptor.
const Name = "retry"

// Defaults of [Config]. The waits are about 1, 3 and 9 seconds, each up to half
// of itself shorter or longer.
const (
	DefaultAttempts        = 4
	DefaultInitialInterval = time.Second
	DefaultMultiplier      = 3.0
	DefaultMaxInterval     = time.Minute
	DefaultRandomization   = 0.5
)

// Config says how often and when to try again. The zero value is ready to use.
type Config struct {
	// Attempts is how many times a message is tried in all, the first time
	// included and those that found no connection too. Zero means 4, one means
	// never again, and a negative number sets no limit: MaxElapsed or NewBackOff
	// must set one then.
	Attempts int

	// InitialInterval is the wait behind the first try. Zero means one second.
	InitialInterval time.Duration
	// Multiplier is by how much each wait is longer than the one before it, at
	// least 1. Zero means 3.
	Multiplier float64
	// MaxInterval is the longest wait, before Randomization. Zero means one
	// minute, or InitialInterval if that is longer.
	MaxInterval time.Duration
	// Randomization makes each wait shorter or longer by up to this part of it,
	// so that many clients do not come back together: 0.5 is by up to a half.
	// Zero means 0.5; a negative number, none.
	Randomization float64

	// NewBackOff returns what decides on the waits, in the place of the four
	// fields above. It is called once for each delivery that needs a second try,
	// because a BackOff has a state. Attempts and MaxElapsed hold all the same.
	NewBackOff func() backoff.BackOff

	// MaxElapsed ends the retrying when the next try would begin later than
	// this after the start of the delivery. Zero sets no limit.
	MaxElapsed time.Duration

	// Notify, if it is not nil, is called before each wait. It is called
	// concurrently, for different deliveries, and must not block.
	Notify func(context.Context, Pause)

	// NewTimer, if it is not nil, returns the timer that a delivery waits with.
	// It is there for tests.
	NewTimer func() backoff.Timer
}

// Pause is a wait that is about to begin.
type Pause struct {
	// Attempt is the number of the try that has failed; the first is 1.
	Attempt int
	// Wait is how long it is until the next.
	Wait time.Duration
	// Recipients is how many recipients will be tried again.
	Recipients int
	// Err is why the try failed, for the first of its recipients that was not
	// accepted.
	Err error
}

// New returns an interceptor that wraps deliveries. It is immutable and may be
// given to several clients. What needs to happen again with each try, a rate
// limit for example, belongs behind it in the list; what is to happen once,
// before it.
//
// If the context ends during a wait, Send returns at once; if its deadline comes
// before the next try, Send does not wait for it. In both cases the error of each
// recipient has the server's last reply and the context's error. A body that can
// be read only once and is spent ends the retrying in the same way, with
// [core.ErrOneShot].
//
// The error says which field cannot be as it is.
func New(config Config) (core.Interceptor, error) {
	if err := config.check(); err != nil {
		return core.Interceptor{}, &core.Error{Stage: core.StageConfig, Class: core.Local, Err: fmt.Errorf("retry: %w", err)}
	}
	config = config.withDefaults()
	return core.Interceptor{Name: Name, Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			err := next(ctx, d)
			if !worthwhile(ctx, d, err) {
				return err
			}
			return config.again(ctx, d, next, err)
		}
	}}, nil
}

func (c Config) check() error {
	switch {
	case c.InitialInterval < 0:
		return errors.New("Config.InitialInterval is negative")
	case c.MaxInterval < 0:
		return errors.New("Config.MaxInterval is negative")
	case c.MaxElapsed < 0:
		return errors.New("Config.MaxElapsed is negative: zero sets no limit")
	case c.MaxInterval != 0 && c.MaxInterval < c.InitialInterval:
		return fmt.Errorf("Config.MaxInterval %v is shorter than InitialInterval %v", c.MaxInterval, c.InitialInterval)
	case c.Multiplier != 0 && !(c.Multiplier >= 1):
		return fmt.Errorf("Config.Multiplier is %v: the least is 1", c.Multiplier)
	case !(c.Randomization <= 1):
		return fmt.Errorf("Config.Randomization is %v: it is a part of the wait, at most 1", c.Randomization)
	case c.NewBackOff != nil && (c.InitialInterval != 0 || c.MaxInterval != 0 || c.Multiplier != 0 || c.Randomization != 0):
		return errors.New("Config.NewBackOff is in the place of InitialInterval, MaxInterval, Multiplier and Randomization: leave them zero")
	case c.Attempts < 0 && c.MaxElapsed == 0 && c.NewBackOff == nil:
		return errors.New("Config.Attempts is negative, which sets no limit: set MaxElapsed")
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.InitialInterval == 0 {
		c.InitialInterval = DefaultInitialInterval
	}
	if c.MaxInterval == 0 {
		c.MaxInterval = max(DefaultMaxInterval, c.InitialInterval)
	}
	if c.Multiplier == 0 {
		c.Multiplier = DefaultMultiplier
	}
	if c.Randomization == 0 {
		c.Randomization = DefaultRandomization
	}
	if c.NewBackOff == nil {
		exponential := backoff.ExponentialBackOff{
			InitialInterval: c.InitialInterval, MaxInterval: c.MaxInterval,
			Multiplier: c.Multiplier, RandomizationFactor: max(c.Randomization, 0),
			Stop: backoff.Stop, Clock: backoff.SystemClock,
		}
		c.NewBackOff = func() backoff.BackOff {
			b := exponential
			b.Reset()
			return &b
		}
	}
	return c
}

// Package retry tries a message again for the recipients that a server has
// deferred, with the waits of github.com/cenkalti/backoff/v4 in between.
//
// Only recipients whose outcome is [core.Deferred] are tried again. One that
// was refused stays refused unless [Config] says otherwise, one that is
// [core.Unknown] may have the message already and is left alone whatever it
// says, and what this side refused, it would refuse again.
//
// The waiting happens inside [core.Client.Send]. That suits what passes within
// seconds or minutes: a lost connection, a full server, a rate limit,
// greylisting if there is time for it. For a server that wants hours, keep the
// message in a queue and send it anew.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	// DefaultGreylistInterval is what servers that greylist commonly want.
	DefaultGreylistInterval = 5 * time.Minute
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

	// GreylistInterval is the least wait when the server says that it greylists
	// and does not say for how long. It is kept only where Send was given the
	// time: where MaxElapsed is set or the context has a deadline, and neither
	// comes first. Else greylisting is waited for like anything else. Zero means
	// five minutes; with a negative one it is never waited for in any other way.
	//
	// A delay that the server states itself ("try again in 300 seconds") is the
	// least wait in any case. If neither MaxElapsed nor a deadline limits it,
	// MaxInterval does. One that does not fit is not tried against: if all who
	// are left were given one, the retrying ends.
	GreylistInterval time.Duration

	// Budget keeps all deliveries together from trying again so often that a
	// server that is out of order has to cope with a multiple of what it could
	// not cope with before. Its zero value is one that is seldom felt.
	Budget Budget

	// RetryRefused, if it is not nil, is asked about each recipient that the
	// server has refused for good, and has him tried again if it returns true:
	// because of a server that says 550 where it means 450. It is called more
	// than once for the same result, and concurrently. A recipient whose outcome
	// is Unknown is never asked about: the core tries nobody again who may have
	// the message.
	RetryRefused func(core.RecipientResult) bool

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
// [core.ErrOneShot], and so does a Budget that is used up, with [ErrBudget].
//
// An error of an interceptor behind this one that has a method RetryAfter()
// time.Duration states a delay as a server's reply does.
//
// The error says which field cannot be as it is.
func New(config Config) (core.Interceptor, error) {
	if err := config.check(); err != nil {
		return core.Interceptor{}, &core.Error{Stage: core.StageConfig, Class: core.Local, Err: fmt.Errorf("retry: %w", err)}
	}
	config = config.withDefaults()
	budget := newBudget(config.Budget)
	return core.Interceptor{Name: Name, Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			budget.deliver(d.Receipt().Started)
			err := next(ctx, d)
			if !config.worthwhile(ctx, d, err) {
				return err
			}
			return config.again(ctx, d, next, err, budget)
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
	case math.IsNaN(c.Budget.Ratio):
		return errors.New("Config.Budget.Ratio is not a number")
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
	if c.GreylistInterval == 0 {
		c.GreylistInterval = DefaultGreylistInterval
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

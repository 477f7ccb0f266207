// Package breaker has an endpoint rest when sessions with it cannot be opened:
// the circuit breaker of github.com/sony/gobreaker.
//
// While an endpoint rests, no session with it is opened. A client with several
// endpoints uses the others meanwhile; one with a single endpoint defers its
// messages at once, with core.ErrResting, instead of having each wait until
// another connection has failed. Sessions that are open go on being used. When
// the rest is over one session is opened as a probe, and how that ends decides
// whether the endpoint is back or rests again.
package breaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/postrider/postrider/core"
)

// Name is the name of the interceptor.
const Name = "breaker"

// Defaults of [Config].
const (
	DefaultFailures = 3
	DefaultRest     = 10 * time.Second
)

// Config says when an endpoint rests and for how long. The zero value is ready
// to use.
type Config struct {
	// Failures is how many times in a row a session with the endpoint could not
	// be opened, for whatever reason, before it rests. Zero means 3.
	Failures int
	// Rest is how long it rests before it is probed. Zero means 10 seconds.
	Rest time.Duration
	// Notify, if it is not nil, is called when the state of an endpoint changes.
	// It is called while the breaker is locked: it must not block, and must not
	// call the client.
	Notify func(e core.Endpoint, from, to core.BreakerState)
}

// New returns an interceptor that has a breaker for each endpoint of its client.
// It is immutable; given to several clients, it has breakers for each of them.
// Its place in the list is of no consequence.
//
// The error says which field cannot be as it is.
func New(config Config) (core.Interceptor, error) {
	switch {
	case config.Failures < 0:
		return core.Interceptor{}, errors.New("breaker: Config.Failures is negative")
	case config.Rest < 0:
		return core.Interceptor{}, errors.New("breaker: Config.Rest is negative")
	}
	if config.Failures == 0 {
		config.Failures = DefaultFailures
	}
	if config.Rest == 0 {
		config.Rest = DefaultRest
	}
	return core.Interceptor{Name: Name, Breaker: config.breaker}, nil
}

// breaker makes the breaker of one endpoint.
func (config Config) breaker(e core.Endpoint) core.Breaker {
	settings := gobreaker.Settings{
		Name:        e.URL,
		Timeout:     config.Rest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= uint32(config.Failures) },
	}
	if config.Notify != nil {
		settings.OnStateChange = func(_ string, from, to gobreaker.State) { config.Notify(e, stateOf(from), stateOf(to)) }
	}
	return &circuit{config.Rest, gobreaker.NewTwoStepCircuitBreaker[struct{}](settings)}
}

// circuit is the breaker of one endpoint.
type circuit struct {
	rest    time.Duration
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
}

func (c *circuit) State() core.BreakerState { return stateOf(c.breaker.State()) }

func (c *circuit) Allow() (func(error), error) {
	done, err := c.breaker.Allow()
	switch {
	case errors.Is(err, gobreaker.ErrTooManyRequests):
		return nil, errors.New("it is being probed")
	case err != nil:
		return nil, fmt.Errorf("it is probed %v after the last failure", c.rest)
	}
	return done, nil
}

func stateOf(s gobreaker.State) core.BreakerState {
	switch s {
	case gobreaker.StateOpen:
		return core.BreakerOpen
	case gobreaker.StateHalfOpen:
		return core.BreakerHalfOpen
	}
	return core.BreakerClosed
}

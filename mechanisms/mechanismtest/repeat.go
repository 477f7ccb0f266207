package mechanismtest

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
)

func (k *kit) checkAgain() error {
	m := k.New(k.t)
	for _, which := range []string{"first", "second", "third"} {
		if err := k.send(m); err != nil {
			return fmt.Errorf("the %s authentication with one value: %w", which, err)
		}
	}
	return nil
}

var errAbandoned = errors.New("mechanismtest gives up")

// abandon has m begin an authentication and drops it before a round.
func (k *kit) abandon(m core.Mechanism, at int) {
	tap := k.tap(m)
	tap.before = func(round int, _ core.Authentication) error {
		if round == at {
			return errAbandoned
		}
		return nil
	}
	_ = k.send(tap) // it fails
}

// rounds returns the number of rounds, Done among them.
func (k *kit) rounds() int { return len(k.right.rounds) + 1 }

func (k *kit) checkAbandoned() error {
	m := k.New(k.t)
	for round := 1; round <= k.rounds(); round++ {
		k.abandon(m, round)
		if err := k.send(m); err != nil {
			return fmt.Errorf("after one that was abandoned before %s: %w", k.step(round), err)
		}
	}
	return nil
}

// step names a round.
func (k *kit) step(round int) string {
	switch {
	case round == 0:
		return "Start"
	case round < k.rounds():
		return fmt.Sprintf("the answer to challenge %d", round)
	}
	return "Done"
}

// checkInterleaved begins one authentication, and between any two steps of it does
// the whole of another.
func (k *kit) checkInterleaved() error {
	m := k.New(k.t)
	var others []error
	tap := k.tap(m)
	tap.before = func(round int, _ core.Authentication) error {
		if err := k.send(m); err != nil {
			others = append(others, fmt.Errorf("one that was begun and ended while another was before %s: %w", k.step(round), err))
		}
		return nil
	}
	if err := k.send(tap); err != nil {
		return fmt.Errorf("one between whose steps others were begun and ended: %w", err)
	}
	return errors.Join(others...)
}

// many is how many authentications there are at a time.
const many = 16

func (k *kit) checkMany() error {
	m := k.New(k.t)
	errs := make([]error, many)
	var running sync.WaitGroup
	for n := range errs {
		running.Go(func() { errs[n] = k.send(m) })
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("one of %d: %w", many, err) // the others fail for the same reason
		}
	}
	return nil
}

func (k *kit) checkGoroutines() error {
	m := k.New(k.t)
	var blocked core.Mechanism
	if k.Blocked != nil {
		blocked = k.Blocked(k.t)
	}
	others := goleak.IgnoreCurrent()
	if err := k.send(m); err != nil {
		return err
	}
	for round := 1; round <= k.rounds(); round++ {
		k.abandon(m, round)
	}
	for round := range k.rounds() + 1 {
		_, _ = k.end(m, round, whenAsked)
	}
	if blocked != nil {
		_, _ = k.end(blocked, everyRound, soon)
	}
	return goleak.Find(others)
}

package mechanismtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postrider/postrider/core"
)

// checkEnded has the mechanism begin in a context that has ended. It may pay no
// heed to it, if it does not wait.
func (k *kit) checkEnded() error {
	m := k.New(k.t)
	ctx, cancel := context.WithCancel(k.t.Context())
	cancel()
	_, _, err := start(ctx, k.Patience, m, k.right.peer)
	if m, ok := err.(*misconduct); ok {
		return m
	}
	if err := k.send(m); err != nil {
		return fmt.Errorf("the next one: %w", err)
	}
	return nil
}

// checkEnding ends the context of one step after the other: at once when the
// mechanism begins to wait for its end. Where it does not, all goes well.
func (k *kit) checkEnding() error {
	m := k.New(k.t)
	var errs []error
	for round := range k.rounds() + 1 {
		heard, err := k.end(m, round, whenAsked)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", k.step(round), err))
		}
		if heard == nil {
			continue
		}
		if err := k.send(m); err != nil {
			errs = append(errs, fmt.Errorf("the next one after that in %s: %w", k.step(round), err))
		}
	}
	if k.Blocked == nil {
		return errors.Join(errs...)
	}
	for _, e := range []ending{ended, whenAsked, soon} {
		heard, err := k.end(k.Blocked(k.t), everyRound, e)
		if heard == nil {
			err = errors.New("it did not wait for anything")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("what Config.Blocked returns, in a context that %s: %w", e.name, err))
		}
	}
	return errors.Join(errs...)
}

// everyRound is for the rounds of end.
const everyRound = -1

// end ends the context of one round of an authentication. It returns what the
// mechanism said to that, and whether that was wrong.
func (k *kit) end(m core.Mechanism, at int, e ending) (heard, wrong error) {
	tap := k.tap(m)
	tap.context = func(ctx context.Context, round int) context.Context {
		if round != at && at != everyRound {
			return ctx
		}
		return e.begin(ctx)
	}
	_ = k.send(tap) // it fails, or not
	for _, r := range tap.runs {
		for _, err := range r.errs {
			heard = err
			if m, ok := err.(*misconduct); ok {
				return heard, m
			}
			if !errors.Is(err, context.Canceled) {
				return heard, fmt.Errorf("the error is not of the kind context.Canceled: %w", err)
			}
		}
	}
	return heard, nil
}

// ending is a time at which a context ends.
type ending struct {
	name  string
	begin func(context.Context) context.Context
}

// aWhile is long enough for most to begin to wait, and right if it is not.
const aWhile = 20 * time.Millisecond

var (
	ended = ending{"has ended", func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx
	}}
	whenAsked = ending{"ends when somebody waits for its end", func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(aWhile, cancel) // for who asks with Err
		return &watched{Context: ctx, asked: sync.OnceFunc(cancel)}
	}}
	soon = ending{"ends after a while", func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(aWhile, cancel)
		return ctx
	}}
)

// watched is a context that tells when somebody begins to wait for its end.
type watched struct {
	context.Context
	asked func()
}

func (w *watched) Done() <-chan struct{} {
	w.asked()
	return w.Context.Done()
}

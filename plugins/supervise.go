package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// supervise keeps the plugin running until Close. g is the first process.
func (p *Plugin) supervise(g *generation) {
	defer close(p.closed)
	pauses := newPauses(p.config.Restart)
	for g != nil {
		began := time.Now()
		why := p.watch(g)
		p.current.Store(nil)
		if why == nil {
			p.finish(g)
			return
		}
		if err := g.kill(why); err != nil {
			p.lines.log.Error("the plugin's process could not be cleared away", "error", err)
		}
		if time.Since(began) >= p.config.Restart.Max {
			pauses.growth.Reset()
		}
		g = p.restart(pauses, why)
	}
	p.finish(nil)
}

// watch waits until the process ends or is to be killed, and returns why. It
// returns nil if the plugin is to be closed.
func (p *Plugin) watch(g *generation) error {
	tick := time.NewTicker(p.config.HealthInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.life.Done():
			return nil
		case <-g.process.done:
			return fmt.Errorf("%w: %w", ErrEnded, g.process.ended)
		case <-p.suspected:
		case <-tick.C:
		}
		if err := g.healthy(p.life, p.config.HealthTimeout); err != nil {
			select {
			case <-p.life.Done():
				return nil
			case <-g.process.done:
				return fmt.Errorf("%w: %w", ErrEnded, g.process.ended)
			case <-time.After(drainTime): // its connection ends before it does
				return err
			}
		}
	}
}

// suspect has watch see soon whether the process is well.
func (p *Plugin) suspect() {
	select {
	case p.suspected <- struct{}{}:
	default: // it will
	}
}

// restart starts another process. It returns nil if the plugin is to be closed.
func (p *Plugin) restart(pauses *pauses, why error) *generation {
	for {
		pause, ok := pauses.next(time.Now())
		if !ok || errors.Is(why, errChanged) {
			if !p.awaitEnable(why) {
				return nil
			}
			*pauses, pause = *newPauses(p.config.Restart), 0
		}
		p.set(Status{State: BackingOff, Err: why, Next: pause})
		select {
		case <-time.After(pause):
		case <-p.life.Done():
			return nil
		}
		p.set(Status{State: Starting, Err: why})
		g, err := p.relaunch(p.life)
		if err == nil {
			p.ready(g)
			return g
		}
		if p.life.Err() != nil {
			return nil
		}
		why = err
	}
}

// errChanged is that the plugin is no longer what the host was told.
var errChanged = errors.New("it is not the same as before")

// relaunch starts a process that has to be the same as the first one.
func (p *Plugin) relaunch(ctx context.Context) (*generation, error) {
	g, err := p.launch(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.unchanged(g); err != nil {
		return nil, errors.Join(err, g.kill(nil))
	}
	return g, nil
}

func (p *Plugin) unchanged(g *generation) error {
	if err := p.about.Same(g.about); err != nil {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return nil
}

func (p *Plugin) ready(g *generation) {
	p.current.Store(g)
	p.set(Status{State: Ready, PID: g.process.pid()})
}

// awaitEnable waits for Enable, and reports whether it came before Close.
func (p *Plugin) awaitEnable(why error) bool {
	select {
	case <-p.enabled: // one that came too early
	default:
	}
	p.set(Status{State: Disabled, Err: why})
	select {
	case <-p.enabled:
		return true
	case <-p.life.Done():
		return false
	}
}

// Enable starts a plugin that is disabled, with the whole budget of restarts. It does
// nothing in another state, and does not wait.
func (p *Plugin) Enable() {
	select {
	case p.enabled <- struct{}{}:
	default:
	}
}

// finish ends the last process, if there is one, and removes what is left.
func (p *Plugin) finish(g *generation) {
	p.set(Status{State: Closed})
	ctx := p.ask
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.config.StopTimeout)
		defer cancel()
	}
	var err error
	if g != nil {
		err = g.stop(ctx)
	}
	if err := errors.Join(err, p.folder.remove()); err != nil {
		p.err = &Error{Plugin: p.name, Err: err}
	}
}

// pauses says when the next process may be started.
type pauses struct {
	restart Restart
	growth  *backoff.ExponentialBackOff
	past    []time.Time // the restarts within the window
}

func newPauses(r Restart) *pauses {
	return &pauses{restart: r, growth: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(r.Initial), backoff.WithMaxInterval(r.Max), backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))}
}

// next returns how long to wait for the next process, and false if there is to be
// none.
func (p *pauses) next(now time.Time) (time.Duration, bool) {
	p.past = slices.DeleteFunc(p.past, func(t time.Time) bool { return now.Sub(t) >= p.restart.Window })
	if len(p.past) >= p.restart.Budget {
		return 0, false
	}
	p.past = append(p.past, now)
	return p.growth.NextBackOff(), true
}

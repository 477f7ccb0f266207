package plugins

import (
	"context"
	"errors"
	"sync"
)

// StartAll starts plugins, all at the same time, and returns them in the order of
// their declarations. If one cannot be started none is left running, and the error
// says why for each that could not.
func StartAll(ctx context.Context, configs ...Config) ([]*Plugin, error) {
	started, errs := make([]*Plugin, len(configs)), make([]error, len(configs))
	each(len(configs), func(n int) { started[n], errs[n] = Start(ctx, configs[n]) })
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, CloseAll(ctx, started...))
	}
	return started, nil
}

// ReopenAll opens plugins again that were closed, all at the same time, as
// [Plugin.Reopen] does. If one cannot be opened none is left running.
func ReopenAll(ctx context.Context, list ...*Plugin) error {
	errs := make([]error, len(list))
	each(len(list), func(n int) { errs[n] = list[n].Reopen(ctx) })
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, CloseAll(ctx, list...))
	}
	return nil
}

// CloseAll closes plugins, all at the same time, as [Plugin.Close] does. One that is
// nil is left out.
func CloseAll(ctx context.Context, list ...*Plugin) error {
	errs := make([]error, len(list))
	each(len(list), func(n int) {
		if list[n] != nil {
			errs[n] = list[n].Close(ctx)
		}
	})
	return errors.Join(errs...)
}

// each calls do for each number below n at the same time.
func each(n int, do func(n int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

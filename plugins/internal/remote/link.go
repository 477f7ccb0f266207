// Package remote is the host's side of the wire protocol: the values that work in
// process, made of what a plugin serves.
package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// Link is the way to a plugin.
type Link interface {
	// Call returns the connection to the plugin as it is now, or why there is none.
	Call() (Call, error)
	// Plugin names the plugin, for errors.
	Plugin() string
	// Timeout is how long the plugin may take for one answer.
	Timeout() time.Duration
}

// Call is the connection that a call is made on.
type Call interface {
	grpc.ClientConnInterface
	// Explain returns what a failure of the call comes from. late says that there
	// was no answer in time.
	Explain(err error, late bool) error
}

// Error is a failure of a plugin, as a cause.
type Error struct {
	// Plugin is the plugin's name.
	Plugin string
	// Err is what happened.
	Err error
}

// Error names the plugin, and says what happened.
func (e *Error) Error() string { return fmt.Sprintf("plugin %s: %v", e.Plugin, e.Err) }

// Unwrap returns what happened.
func (e *Error) Unwrap() error { return e.Err }

// failed is the error of a call that the plugin, and not what it serves, is the
// reason of.
func failed(link Link, stage core.Stage, err error) *core.Error {
	return &core.Error{Stage: stage, Class: core.Temporary, Err: &Error{link.Plugin(), err}}
}

// ErrBroken is that a plugin says what the protocol does not have.
var ErrBroken = errors.New("it breaks the protocol")

// errViolation is that a plugin answers what was not asked.
var errViolation = fmt.Errorf("%w: its answer is not to what was asked", ErrBroken)

// reason is what a plugin says against something.
func reason(f *pluginv1.Failure) error {
	if err := wire.Err(f); err != nil {
		return err
	}
	return errors.New("it gives no reason")
}

// errLate ends a call that is not answered in time.
var errLate = errors.New("no answer in time")

// limit has cancel called when ctx ends, or after the time that a plugin has for an
// answer. What it returns is to be called when there is an answer: from then on
// either cancel has been called, or it is not called any more.
func limit(ctx context.Context, timeout time.Duration, cancel context.CancelCauseFunc) (release func()) {
	late := func() { cancel(errLate) }
	over := func() { cancel(context.Cause(ctx)) }
	timer, stop := time.AfterFunc(timeout, late), context.AfterFunc(ctx, over)
	return func() {
		// What has begun may not have come to cancel.
		if !timer.Stop() {
			late()
		}
		if !stop() {
			over()
		}
	}
}

// explain is why a call failed: because its caller went away, or because of the
// plugin.
func explain(ctx, call context.Context, link Link, conn Call, stage core.Stage, err error) *core.Error {
	if ctx.Err() != nil {
		return failed(link, stage, fmt.Errorf("while it was asked: %w", ended(ctx)))
	}
	if errors.Is(err, errViolation) {
		return failed(link, stage, err)
	}
	return failed(link, stage, conn.Explain(err, context.Cause(call) == errLate))
}

// ended is why a context ended, and of its kind.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

package smtptest

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/postrider/postrider/core"
)

const recordName = "smtptest.record"

// Record returns the configuration with one more interceptor if the environment
// asks for it: it writes down, in every way in which package fmt prints it, all
// that interceptors see of what a client does, so that the whole output of a
// suite of tests can be searched for what must not be in any log:
//
//	POSTRIDER_TEST_RECORD=/tmp/record go test ./...
//
// The file is appended to. Configurations of [Server] and [Script] have the
// interceptor already. It panics if it cannot write.
func Record(config core.Config) core.Config {
	path := os.Getenv("POSTRIDER_TEST_RECORD")
	if path == "" || slices.ContainsFunc(config.Interceptors, func(i core.Interceptor) bool { return i.Name == recordName }) {
		return config
	}
	config.Interceptors = append([]core.Interceptor{recorder(path).interceptor()}, config.Interceptors...)
	return config
}

// recorder is the file that a record is written to.
type recorder string

func (r recorder) interceptor() core.Interceptor {
	return core.Interceptor{
		Name: recordName,
		Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				err := next(ctx, d)
				r.note("delivery", d.Endpoint(), d.Receipt(), *d.Receipt(), d.Receipt().Peer, err)
				return err
			}
		},
		Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error {
				err := next(ctx, c)
				r.note("connect", c.Endpoint, c.Steps, c.Choice, c.Choice.String(), c.Peer(), err)
				return err
			}
		},
		Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
			return func(ctx context.Context, x *core.Exchange) error {
				err := next(ctx, x)
				r.note("exchange", x.Commands, x.Replies, err)
				for command, replies := range x.Pairs() {
					r.note("pair", command, replies)
				}
				return err
			}
		},
		Pool: func(e core.PoolEvent) { r.note("pool", e, e.Peer, e.Err) },
	}
}

// note writes values down. Errors are opened to the last one that they wrap.
func (r recorder) note(what string, values ...any) {
	text := []byte(what)
	for _, v := range values {
		for ; v != nil; v = inside(v) {
			text = fmt.Appendf(text, " | %v | %+v | %#v", v, v, v)
		}
	}
	file, err := os.OpenFile(string(r), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(fmt.Errorf("POSTRIDER_TEST_RECORD: %w", err))
	}
	defer file.Close()
	if _, err := file.Write(append(text, '\n')); err != nil {
		panic(fmt.Errorf("POSTRIDER_TEST_RECORD: %w", err))
	}
}

// inside returns what an error wraps, or nil.
func inside(v any) any {
	switch e := v.(type) {
	case interface{ Unwrap() error }:
		if err := e.Unwrap(); err != nil {
			return err
		}
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	}
	return nil
}

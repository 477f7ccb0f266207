package interceptortest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// errFault is what next fails with.
var errFault = errors.New("interceptortest: next fails")

// fault is something that next does.
type fault struct {
	kind string // the chain in which it does it
	name string
	do   func(next func() error) error
	want string // the outcome
	is   func(error) bool
}

// faults returns each fault in each chain.
func faults() (list []fault) {
	for _, kind := range []string{"delivery", "attempt", "content", "connect", "exchange"} {
		isFault := func(err error) bool { return errors.Is(err, errFault) }
		list = append(list,
			fault{kind, "fails for good", func(func() error) error { return errFault }, "refused", isFault},
			fault{kind, "fails with a temporary error", func(func() error) error {
				return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: errFault}
			}, "deferred", isFault},
			fault{kind, "panics", func(func() error) error { panic(errFault) }, "refused", func(err error) bool {
				panicked, ok := errors.AsType[*core.PanicError](err)
				return ok && panicked.Value == errFault
			}},
			fault{kind, "does nothing and says nothing", func(func() error) error { return nil }, "refused", func(err error) bool {
				return errors.Is(err, core.ErrNextSkipped)
			}},
		)
	}
	return list
}

// injector is an interceptor with the fault, for as long as it is on.
func (f fault) injector(on *atomic.Bool, signs bool) core.Interceptor {
	i := core.Interceptor{Name: "interceptortest fault"}
	do := func(next func() error) error {
		if !on.Load() {
			return next()
		}
		return f.do(next)
	}
	switch f.kind {
	case "delivery":
		i.Delivery = func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error { return do(func() error { return next(ctx, d) }) }
		}
	case "attempt":
		i.Attempt = func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error { return do(func() error { return next(ctx, a) }) }
		}
	case "content":
		i.Signs = signs // else it could not stand behind a signer
		i.Content = func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error { return do(func() error { return next(ctx, c) }) }
		}
	case "connect":
		i.Connect = func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error { return do(func() error { return next(ctx, c) }) }
		}
	case "exchange":
		i.Exchange = func(next core.ExchangeFunc) core.ExchangeFunc {
			return func(ctx context.Context, x *core.Exchange) error {
				if len(x.Commands) == 0 || x.Commands[0].Verb != "MAIL" {
					return next(ctx, x)
				}
				return do(func() error { return next(ctx, x) })
			}
		}
	}
	return i
}

// playFault sends a message that the fault ends, and then one that it does not.
func (b *bench) playFault(s session, f fault, i core.Interceptor) {
	var on atomic.Bool
	on.Store(true)
	server := b.server(smtptest.ServerOptions{Protocol: s.protocol})
	c := b.client(s.configure(server.Config()), i, f.injector(&on, i.Signs))
	if c == nil {
		return
	}
	where := fmt.Sprintf("%s, when next %s in the %s chain", s.name, f.name, f.kind)
	r := b.send(b.scope.ctx, c, message(text("fault", 0), "bob@example.net"))
	if !r.back {
		return
	}
	if got := outcomes(r.receipt); got != f.want || !f.is(r.err) {
		b.foundf("%s, the outcome is %q, and is to be %q, with that error: %v", where, got, f.want, r.err)
	}
	if n := len(server.Messages()); n > 0 {
		b.foundf("%s, the server has taken the message", where)
	}
	on.Store(false)
	if r = b.send(b.scope.ctx, c, message(text("afterwards", 0), "bob@example.net")); r.back && r.err != nil {
		b.foundf("%s, the message behind it is not accepted: %v", where, r.err)
	}
}

// faultRules are about what next does.
func faultRules() []rule {
	list := rule{name: "it neither hides what next does, nor is it stopped by it"}
	for _, f := range faults() {
		list.cases = append(list.cases, testCase{"next in the " + f.kind + " chain " + f.name, func(b *bench) {
			for _, s := range sessions() {
				if !b.stuck.Load() {
					b.playFault(s, f, b.interceptor())
				}
			}
		}})
	}
	return []rule{list}
}

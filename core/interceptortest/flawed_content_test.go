package interceptortest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/postrider/postrider/core"
)

// flawsOfContent are about bodies.
func flawsOfContent() []flaw {
	changed := func(f func(context.Context, core.Body) (core.Body, error)) func(context.Context) core.Interceptor {
		return func(context.Context) core.Interceptor { return bodiesBy(f) }
	}
	return []flaw{
		{does: "declares too large a size", rule: ruleBody, says: "and its Size says", i: changed(func(_ context.Context, b core.Body) (core.Body, error) {
			return lying{Body: b, more: 1}, nil
		})},
		{does: "declares too small a size", rule: ruleBody, says: "and its Size says", i: changed(func(_ context.Context, b core.Body) (core.Body, error) {
			return lying{Body: b, more: -1}, nil
		})},
		{does: "declares another form", rule: ruleBody, says: "and its Form says", i: changed(func(_ context.Context, b core.Body) (core.Body, error) {
			return lyingForm{lying{Body: b}}, nil
		})},
		{does: "yields nothing the second time", rule: ruleBody, says: "something else when it is opened again", patience: time.Second, i: changed(func(ctx context.Context, b core.Body) (core.Body, error) {
			r, err := b.Open(ctx)
			return opened{r}, err
		})},
		{does: "adds a line", rule: "messages arrive as they should", says: "plain text: sent", i: changed(func(_ context.Context, b core.Body) (core.Body, error) {
			return core.Segments(core.String("X: y\r\n"), b), nil
		})},
		{does: "refuses a message", rule: "messages arrive as they should", says: "nothing: it was not accepted", i: changed(func(_ context.Context, b core.Body) (core.Body, error) {
			if b.Size() == 0 {
				return nil, errors.New("there is no content")
			}
			return b, nil
		})},
		{does: "spends a body that can be read once", rule: "bodies of every kind arrive", says: "read once: it was not accepted", patience: time.Second, i: changed(func(ctx context.Context, b core.Body) (core.Body, error) {
			r, err := b.Open(ctx)
			if err != nil {
				return nil, err
			}
			_, err = io.Copy(io.Discard, r)
			return b, errors.Join(err, r.Close())
		})},
		{does: "holds content in memory", rule: "large content is not held in memory", says: "octets of memory came into use", patience: time.Second, i: changed(func(ctx context.Context, b core.Body) (core.Body, error) {
			if core.OneShot(b) {
				return b, nil
			}
			octets, err := read(ctx, b)
			return core.Bytes(octets), err
		})},
	}
}

type lying struct {
	core.Body
	more int64
}

func (l lying) Size() int64 { return l.Body.Size() + l.more }

type lyingForm struct{ lying }

func (l lyingForm) Form() (core.Form, bool) { return core.Form{Canonical: true, Size: 1}, true }

type opened struct{ io.ReadCloser }

func (o opened) Open(context.Context) (io.ReadCloser, error) { return o.ReadCloser, nil }
func (opened) Size() int64                                   { return -1 }

// flawsOfMemory keep what they get.
func flawsOfMemory() []flaw {
	var list []flaw
	for kind, i := range map[string]func(keep func(any)) core.Interceptor{
		"delivery": func(keep func(any)) core.Interceptor {
			return deliveries(func(ctx context.Context, next core.DeliverFunc, d *core.Delivery) error { keep(d); return next(ctx, d) })
		},
		"attempt": func(keep func(any)) core.Interceptor {
			return attempts(func(ctx context.Context, next core.AttemptFunc, a *core.Attempt) error { keep(a); return next(ctx, a) })
		},
		"content": func(keep func(any)) core.Interceptor {
			return core.Interceptor{Content: func(next core.ContentFunc) core.ContentFunc {
				return func(ctx context.Context, c *core.Content) error { keep(c); return next(ctx, c) }
			}}
		},
		"connect": func(keep func(any)) core.Interceptor {
			return connects(func(ctx context.Context, next core.ConnectFunc, c *core.Connect) error { keep(c); return next(ctx, c) })
		},
		"exchange": func(keep func(any)) core.Interceptor {
			return exchanges(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
				keep(x)
				return next(ctx, x)
			})
		},
	} {
		list = append(list, flaw{does: "keeps the last " + kind, rule: ruleKeeps, says: kind + " is still referred to", i: func(context.Context) core.Interceptor {
			var mu sync.Mutex
			last := new(any)
			return i(func(v any) {
				mu.Lock()
				defer mu.Unlock()
				*last = v
			})
		}})
	}
	return list
}

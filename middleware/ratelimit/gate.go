package ratelimit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/core"
)

// gate is the interceptor: it counts what a message is, asks the limiter, and
// tells it the end.
type gate struct {
	key      func(*core.Delivery, core.Recipient) string
	refuse   bool
	limiter  Limiter
	finisher Finisher // or nil

	sizes   bool      // the limiter wants to know them
	listens bool      // it wants to know what the server says
	tries   sync.Pool // of *try, for the limiter of this package, which keeps none
}

// try is what is counted of one call of next.
type try struct {
	request Request
	one     [1]Part
	end     End
	sent    atomic.Int64 // octets of content, in all its attempts
}

func newGate(c Config) *gate {
	g := &gate{key: c.Key, refuse: c.Refuse, limiter: c.Limiter, sizes: true, listens: true}
	if c.Limiter == nil {
		g.limiter = newLocal(c)
		g.sizes, g.listens = c.Bytes.Count > 0, c.Adaptive
		g.tries.New = func() any { return new(try) }
	}
	g.finisher, _ = g.limiter.(Finisher)
	return g
}

// begin returns an empty try.
func (g *gate) begin() *try {
	if g.tries.New == nil || g.sizes {
		return new(try) // the limiter, or an attempt, may still hold it at the end
	}
	return g.tries.Get().(*try)
}

func (g *gate) finish(t *try) {
	if g.tries.New != nil && !g.sizes {
		t.request, t.end, t.one = Request{}, End{}, [1]Part{}
		g.tries.Put(t)
	}
}

func (g *gate) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) error {
		t := g.begin()
		defer g.finish(t)
		if t.count(d, g.key); len(t.request.Parts) == 0 {
			return next(ctx, d) // nobody is left to be tried
		}
		t.request.Refuse, t.request.Bytes = g.refuse, -1
		if g.sizes {
			t.request.Bytes = sizeOf(func() int64 { return sizeBefore(d.Message().Body) })
		}
		if err := g.limiter.Take(ctx, t.request); err != nil {
			if _, ok := errors.AsType[*core.Error](err); ok {
				return err // it knows better
			}
			return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: err}
		}
		if g.finisher == nil {
			return next(ctx, d)
		}
		if g.listens {
			t.end.Began = time.Now()
		}
		before := d.Receipt().Attempts
		defer func() { g.finisher.Finish(ctx, t.request, t.end) }() // whatever panics
		defer func() {
			t.end.Transactions = d.Receipt().Attempts - before
			t.end.Bytes = t.sent.Load()
			if g.listens {
				g.listen(ctx, d, t)
			}
		}()
		if g.sizes {
			return next(context.WithValue(ctx, g, t), d)
		}
		return next(ctx, d)
	}
}

// attempt counts the content that is sent.
func (g *gate) attempt(next core.AttemptFunc) core.AttemptFunc {
	return func(ctx context.Context, a *core.Attempt) error {
		err := next(ctx, a)
		if t, ok := ctx.Value(g).(*try); ok {
			t.sent.Add(max(sizeOf(a.ContentSize), 0))
		}
		return err
	}
}

// sizeBefore returns the size of a body that is to be sent, in octets, or -1.
func sizeBefore(b core.Body) int64 {
	if n := b.Size(); n >= 0 {
		return n
	}
	if f, ok := b.(core.Former); ok {
		if form, known := f.Form(); known {
			return form.Size
		}
	}
	return -1
}

// sizeOf returns what find does, or -1 if a body of the caller's panics in it:
// the core will ask that body as well, and knows whom to name.
func sizeOf(find func() int64) (size int64) {
	defer func() {
		if recover() != nil {
			size = -1
		}
	}()
	return find()
}

// listen notes for which of its parts a try was told to come slower.
func (g *gate) listen(ctx context.Context, d *core.Delivery, t *try) {
	if t.end.Transactions == 0 && ctx.Err() != nil {
		return // what is in the receipt was said to the try before
	}
	for i := range d.Receipt().Recipients {
		r := &d.Receipt().Recipients[i]
		if r.Outcome != core.Deferred || !asksForLess(r.Reply) {
			continue
		}
		k, ok := 0, true
		if len(t.request.Parts) > 1 {
			k, ok = slices.BinarySearchFunc(t.request.Parts, Part{Key: g.key(d, d.Message().To[i])}, byKey)
		}
		if !ok {
			continue // the function of the caller's has changed its mind
		}
		if t.end.Slower == nil {
			t.end.Slower = make([]core.Reply, len(t.request.Parts))
		}
		t.end.Slower[k] = r.Reply
	}
}

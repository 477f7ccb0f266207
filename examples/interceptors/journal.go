package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/postrider/postrider/core"
)

// journal archives each message before it is sent: what cannot be archived is
// not sent. A message that nobody got is removed again; one that somebody may have
// got stays.
//
// Delivery knows the beginning and the end, Content what is really sent. Put it
// before a retry, and behind what changes content; a signer still belongs behind
// it, so that the archive has all but the signature.
//
// The content is read as a stream, of whatever size. Reading a one-shot body
// spends it, so such a message is sent from the archive.
type journal struct{ archive folder }

func (j journal) interceptor() core.Interceptor {
	return core.Interceptor{Name: "journal", Delivery: j.delivery, Content: j.content}
}

// entry is what the archive has of a delivery.
type entry struct {
	to    []string
	names []string // several, if servers got different content
}

// entryKey is the key of the delivery's entry.
type entryKey struct{}

func (j journal) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) error {
		e := &entry{}
		for _, r := range d.Receipt().Recipients {
			if r.Outcome == core.Pending || r.Outcome == core.Deferred {
				e.to = append(e.to, r.Address) // the others get nothing
			}
		}
		err := next(context.WithValue(ctx, entryKey{}, e), d)
		if d.Receipt().Count(core.Accepted)+d.Receipt().Count(core.Unknown) == 0 {
			for _, name := range e.names {
				err = errors.Join(err, j.archive.remove(name))
			}
		}
		return err
	}
}

func (j journal) content(next core.ContentFunc) core.ContentFunc {
	return func(ctx context.Context, c *core.Content) error {
		e, body := ctx.Value(entryKey{}).(*entry), c.Body
		if !c.Message().Binary {
			body = core.Canonical(body) // as on the wire
		}
		name, err := j.copy(ctx, envelope{c.Message().From, e.to}, body)
		if err != nil {
			return err
		}
		e.names = append(e.names, name)
		if core.OneShot(c.Body) {
			c.Body = core.File(name + ".eml")
		}
		return next(ctx, c)
	}
}

func (j journal) copy(ctx context.Context, e envelope, body core.Body) (name string, err error) {
	content, err := body.Open(ctx)
	if err != nil {
		return "", fmt.Errorf("the journal opens the message: %w", err)
	}
	end := sync.OnceValue(content.Close)
	defer func() { err = errors.Join(err, end()) }()
	defer context.AfterFunc(ctx, func() { _ = end() })() // so that a Read that blocks returns
	name, err = j.archive.keep(e, content)
	if err != nil {
		return "", &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: fmt.Errorf("the journal: %w", errors.Join(ctx.Err(), err)), Hint: "see to its folder"}
	}
	return name, nil
}

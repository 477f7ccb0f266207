package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Content is the content of one attempt, on its way through the interceptors.
// It is valid until the chain returns.
type Content struct {
	// Body is what will be sent. An interceptor changes it by putting another
	// one in its place, and then calls next.
	Body Body

	message *Message
	peer    *Peer
	asked   []askedExtension
	once    once

	seen Body   // as next was called last
	by   string // the interceptor that put it there; "" if it is the message's own
}

// noteBody returns the content function of an interceptor, which notes whose
// body it is that is sent in the end.
func noteBody(i Interceptor) func(ContentFunc) ContentFunc {
	if i.Content == nil {
		return nil
	}
	return func(next ContentFunc) ContentFunc {
		return i.Content(func(ctx context.Context, c *Content) error {
			if same, _ := sameBody(c.Body, c.seen); !same {
				c.seen, c.by = c.Body, i.Name
			}
			return next(ctx, c)
		})
	}
}

// sameBody compares bodies. Of those of a type that cannot be compared it is not
// known.
func sameBody(a, b Body) (same, known bool) {
	defer func() { _ = recover() }()
	return a == b, true
}

type askedExtension struct {
	keyword string
	offered bool
}

// Message returns the message being delivered, which must not be changed. Its
// Body is the original one.
func (c *Content) Message() *Message { return c.message }

// Offers reports whether the peer announced an extension, so that content can
// be made to fit ("8BITMIME", "SMTPUTF8"). The content is kept for the whole
// delivery: the chain runs again only for a peer that would answer one of the
// questions differently, so that a retry does not sign again.
func (c *Content) Offers(keyword string) bool {
	offered := c.peer.Extensions.Has(keyword)
	c.asked = append(c.asked, askedExtension{strings.ToUpper(keyword), offered})
	return offered
}

// Prepend puts header fields in front of the content: whole lines. A line end
// that the last one lacks is added.
func (c *Content) Prepend(header string) {
	if header != "" && !strings.HasSuffix(header, "\n") {
		header += "\r\n"
	}
	c.Body = Segments(String(header), c.Body)
}

// settledContent is the result of the content chain, kept for a delivery.
type settledContent struct {
	body  Body
	by    string
	asked []askedExtension
}

// fits reports whether the chain would do the same again for this peer.
func (s *settledContent) fits(peer *Peer) bool {
	if s.body == nil {
		return false
	}
	for _, a := range s.asked {
		if peer.Extensions.Has(a.keyword) != a.offered {
			return false
		}
	}
	return true
}

// settle runs the content chain, unless an earlier attempt's result fits.
func (s *settledContent) settle(ctx context.Context, p *pipeline, m *Message, peer *Peer) (Body, error) {
	if !p.wrapsContent {
		return m.Body, nil
	}
	if s.fits(peer) {
		return s.body, nil
	}
	c := &Content{Body: m.Body, seen: m.Body, message: m, peer: peer}
	err := p.content(ctx, c)
	err = c.once.end("content", err, func() {})
	if err == nil && c.Body == nil {
		err = errors.New("a content interceptor set Body to nil")
	}
	if err != nil {
		return nil, stageError(StagePolicy, err)
	}
	s.body, s.by, s.asked = c.Body, c.by, c.asked
	return c.Body, nil
}

// blame names the interceptor in an error about the size of the body that it has
// made.
func (s *settledContent) blame(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || s.by == "" || !errors.Is(err, errBodySize) {
		return err
	}
	shown := *e
	shown.Err = fmt.Errorf("interceptor %q (content): %w", s.by, e.Err)
	return &shown
}

// settleContent is the end of the content chain.
func settleContent(_ context.Context, c *Content) error {
	if err := c.once.begin("content"); err != nil {
		return err
	}
	c.once.finish()
	return nil
}

// stageError gives an error that has no stage one.
func stageError(stage Stage, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Stage: stage, Class: ClassOf(err), Err: err}
}

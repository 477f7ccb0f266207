package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/postrider/postrider/core"
)

// policy says which messages are not sent. What is zero sets no rule.
type policy struct {
	mostOctets     int64                      // of content, as the caller gave it
	mostRecipients int                        // of one message
	noMail         func(domain string) bool   // whether nobody there gets any
	leastTLS       func(*core.Message) uint16 // tls.VersionTLS13, say; 0 for none
}

// interceptor returns the policy as an interceptor. Put it before a retry.
//
// Size, recipients and domains are known before anything is opened. So they are
// looked at once for each Delivery, and a refusal costs the server nothing.
//
// TLS is known of a session, so it is looked at in each Attempt, which has one,
// and which has the message whose rule it is. But a session that turns out dead
// is replaced within next: the last word is the Exchange's that has MAIL. For a
// rule that is the same for all messages core.Config.TLS.MinVersion is enough.
func (p policy) interceptor() core.Interceptor {
	i := core.Interceptor{Name: "policy", Delivery: p.delivery}
	if p.leastTLS != nil {
		i.Attempt, i.Exchange = p.attempt, p.exchange
	}
	return i
}

func (p policy) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) error {
		m := d.Message()
		if n := len(m.To); p.mostRecipients > 0 && n > p.mostRecipients {
			return fmt.Errorf("%d recipients, and %d are allowed", n, p.mostRecipients)
		}
		if p.mostOctets > 0 {
			switch size := m.Body.Size(); {
			case size < 0:
				return errors.New("the size of the message is not known: give it a body that knows it")
			case size > p.mostOctets:
				return fmt.Errorf("%d octets, and %d are allowed", size, p.mostOctets)
			}
		}
		for i, to := range m.To {
			if _, domain := split(to.Address); p.noMail != nil && p.noMail(domain) {
				d.Refuse(i, fmt.Errorf("nobody at %s gets mail", domain)) // the others do
			}
		}
		return next(ctx, d)
	}
}

// leastTLS is the key of the version that a message needs.
type leastTLS struct{}

func (p policy) attempt(next core.AttemptFunc) core.AttemptFunc {
	return func(ctx context.Context, a *core.Attempt) error {
		least := p.leastTLS(a.Message())
		if err := checkTLS(a.Peer(), least); err != nil {
			return err
		}
		return next(context.WithValue(ctx, leastTLS{}, least), a)
	}
}

func (p policy) exchange(next core.ExchangeFunc) core.ExchangeFunc {
	return func(ctx context.Context, x *core.Exchange) error {
		// The context is also that of a session that is opened for the message.
		if slices.ContainsFunc(x.Commands, func(c core.Command) bool { return c.Verb == "MAIL" }) {
			least, _ := ctx.Value(leastTLS{}).(uint16)
			if err := checkTLS(x.Peer(), least); err != nil {
				return err
			}
		}
		return next(ctx, x)
	}
}

// checkTLS refuses a session with less TLS than a message needs. On this machine
// none is needed.
func checkTLS(peer *core.Peer, least uint16) error {
	switch {
	case least == 0 || peer.Local:
		return nil
	case !peer.Secure():
		return fmt.Errorf("%w: the message needs %s", core.ErrTLSRequired, tls.VersionName(least))
	case peer.TLS.Version < least:
		return fmt.Errorf("the session has %s, and the message needs %s", tls.VersionName(peer.TLS.Version), tls.VersionName(least))
	}
	return nil
}

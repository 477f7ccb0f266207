package core

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Timeouts bounds the stages of a session. A zero field has the default that is
// named with it, those of RFC 5321 §4.5.3.2 where it names one; a negative field
// has no bound but the context's.
//
// A bound on a reply is absolute: it holds for the whole reply, however slowly
// its octets come, and starts when the command was written and the reply before
// it was complete.
type Timeouts struct {
	// Connect is for all of a client's opening a session, with what transports,
	// mechanisms and interceptors take: 20 minutes, but 30 seconds where the client
	// has several endpoints, so that the next one has its turn.
	Connect  time.Duration
	Dial     time.Duration // opening the stream: 1 minute
	Greeting time.Duration // the server's first reply: 5 minutes
	Hello    time.Duration // replies to EHLO, HELO, LHLO: 5 minutes
	TLS      time.Duration // reply to STARTTLS, and again the handshake: 1 minute
	Auth     time.Duration // each reply during AUTH, and each answer of the mechanism: 2 minutes
	Mail     time.Duration // reply to MAIL: 5 minutes
	Rcpt     time.Duration // each reply to RCPT: 5 minutes
	Data     time.Duration // reply to DATA: 2 minutes
	Write    time.Duration // each write, of commands or of a block of content: 3 minutes
	Content  time.Duration // each reply to the content: 10 minutes
	Command  time.Duration // reply to any other command: 5 minutes
	Quit     time.Duration // reply to QUIT: 5 seconds
}

// withDefaults fills in the zero fields.
func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Dial, time.Minute},
		{&t.Greeting, 5 * time.Minute},
		{&t.Hello, 5 * time.Minute},
		{&t.TLS, time.Minute},
		{&t.Auth, 2 * time.Minute},
		{&t.Mail, 5 * time.Minute},
		{&t.Rcpt, 5 * time.Minute},
		{&t.Data, 2 * time.Minute},
		{&t.Write, 3 * time.Minute},
		{&t.Content, 10 * time.Minute},
		{&t.Command, 5 * time.Minute},
		{&t.Quit, 5 * time.Second},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return t
}

// explainTimeout says whose time has ended when work under inner failed: that of
// the caller's context, or that of the stage.
func explainTimeout(outer, inner context.Context, err error, timeout time.Duration) error {
	switch {
	case outer.Err() != nil:
		return fmt.Errorf("%w: %w", contextError(outer), err)
	case inner.Err() != nil:
		return fmt.Errorf("%w after %v", os.ErrDeadlineExceeded, timeout)
	}
	return err
}

// withTimeout is context.WithTimeout for a timeout that, if it is negative, is
// none.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

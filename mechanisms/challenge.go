package mechanisms

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
)

// Func returns a mechanism of the caller's own that is one function from the
// server's challenge to the response. It is called with nil for the initial
// response, and returns nil for none; an error cancels the authentication.
// answer is called by several sessions at once, so it keeps no state of one.
//
// The mechanism is taken to show a reusable secret, and is refused without TLS.
func Func(name string, answer func(ctx context.Context, challenge []byte) (response []byte, err error)) core.Mechanism {
	return function{strings.ToUpper(name), answer}
}

type function struct {
	name   string
	answer func(context.Context, []byte) ([]byte, error)
}

func (f function) Name() string { return f.name }

// Check implements [core.Checker].
func (f function) Check() error {
	if f.answer == nil {
		return errors.New("the function given to mechanisms.Func is nil")
	}
	return nil
}

func (f function) Start(ctx context.Context, _ *core.Peer) (core.Authentication, []byte, error) {
	initial, err := f.answer(ctx, nil)
	return f, initial, err
}

func (f function) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	if challenge == nil {
		challenge = []byte{} // nil asks for the initial response
	}
	return f.answer(ctx, challenge)
}

func (function) Done(context.Context) error { return nil }

// WithoutInitialResponse returns m for servers that do not take an initial
// response with the AUTH command: it is sent when the server asks for it, with
// an empty challenge (RFC 4954 §4).
func WithoutInitialResponse(m core.Mechanism) core.Mechanism { return withheld{m} }

type withheld struct{ core.Mechanism }

// KeepsSecret says what the mechanism says.
func (w withheld) KeepsSecret() bool { return keepsSecret(w.Mechanism) }

// Check says what the mechanism says.
func (w withheld) Check() error { return check(w.Mechanism) }

// CheckPeer says what the mechanism says.
func (w withheld) CheckPeer(peer *core.Peer) error { return checkPeer(w.Mechanism, peer) }

func (w withheld) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	a, initial, err := w.Mechanism.Start(ctx, peer)
	if err != nil || initial == nil {
		return a, nil, err
	}
	return &withholding{func() (core.Authentication, []byte) { return a, initial }, false}, nil, nil
}

// withholding keeps what it has in a function for the reason that plain has.
type withholding struct {
	run  func() (a core.Authentication, initial []byte)
	sent bool // the initial response
}

func (w *withholding) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	a, initial := w.run()
	if !w.sent && len(challenge) == 0 {
		w.sent = true
		return initial, nil
	}
	return a.Next(ctx, challenge)
}

func (w *withholding) Done(ctx context.Context) error {
	a, _ := w.run()
	return a.Done(ctx)
}

// Expires says what the mechanism's run says.
func (w *withholding) Expires() time.Time {
	a, _ := w.run()
	return expires(a)
}

// Close ends the mechanism's run.
func (w *withholding) Close() error {
	a, _ := w.run()
	return end(a)
}

// Refused says what the mechanism's run says.
func (w *withholding) Refused(ctx context.Context, refusal *core.Error) core.Mechanism {
	a, _ := w.run()
	if other := refused(ctx, a, refusal); other != nil {
		return withheld{other}
	}
	return nil
}

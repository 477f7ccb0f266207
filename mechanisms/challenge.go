package mechanisms

import (
	"context"
	"errors"
	"strings"

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
func (w withheld) KeepsSecret() bool {
	k, ok := w.Mechanism.(core.SecretKeeper)
	return ok && k.KeepsSecret()
}

func (w withheld) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	a, initial, err := w.Mechanism.Start(ctx, peer)
	if err != nil || initial == nil {
		return a, nil, err
	}
	return &withholding{a, initial}, nil, nil
}

type withholding struct {
	core.Authentication
	initial []byte // nil once it is sent
}

func (w *withholding) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	if w.initial != nil && len(challenge) == 0 {
		initial := w.initial
		w.initial = nil
		return initial, nil
	}
	return w.Authentication.Next(ctx, challenge)
}

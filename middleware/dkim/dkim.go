// Package dkim signs messages with DomainKeys Identified Mail, RFC 6376, by
// RSA (RFC 8301) and Ed25519 (RFC 8463) keys.
//
// It signs what goes on the wire: every line ended by CRLF, before dots are
// doubled. The content is read once for the signature and once for each time it
// is sent, and is never held in memory. A private key may be anywhere that a
// [crypto.Signer] reaches: in a file (see [LoadKey]), a hardware module, another
// process. It gets the digest and never sees the message.
package dkim

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/postrider/postrider/core"
)

// Name is the name of the interceptor.
const Name = "dkim"

// Config says what to sign with. There must be one signature at least.
type Config struct {
	// Signatures are made on every message, and stand in it in this order.
	// Verifiers that do not know Ed25519 skip such a signature, so give an RSA
	// one too.
	Signatures []Signature

	// AllowLongLines signs messages that have a line of more than 998 octets.
	// They are refused otherwise, since servers break or refuse such lines (RFC
	// 5322 §2.1.1), and a broken line is a broken signature.
	AllowLongLines bool
}

// New returns an interceptor that signs content. It is safe for concurrent use
// and may be given to several clients. Its place in the list is behind every
// other interceptor that changes content.
//
// A message that would not verify is refused before anything of it is written:
// one without From or with two, with a header that is not well formed, with
// lines that are too long (see [Config]), or with a run of more than 32,768
// empty lines. Bare CR and LF are no reason, because they go out as CRLF, unless
// core.Config.LineEnds refuses them. A message that has a header and nothing
// else gets the empty line that ends a header.
//
// When a [crypto.Signer] fails, the error is temporary: the same may work later.
// A body that can be read only once cannot be signed and sent, and ends in
// [core.ErrOneShot]. One that changes between signing and sending is not
// delivered.
//
// The signatures are made once for a delivery. A retry sends the same.
func New(config Config) (core.Interceptor, error) {
	s := &stage{allowLongLines: config.AllowLongLines}
	s.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	err := errors.New("Config.Signatures is empty: give one a Domain, a Selector and a Signer")
	if len(config.Signatures) > 0 {
		s.signatures, err = prepare(config.Signatures)
	}
	if err != nil {
		return core.Interceptor{}, &core.Error{Stage: core.StageConfig, Class: core.Local, Err: fmt.Errorf("dkim: %w", err)}
	}
	return core.Interceptor{Name: Name, Signs: true, Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			if m := c.Message(); m != nil && m.Binary {
				return refusal("encode the content and leave Message.Binary unset, or send it unsigned",
					"the message is binary, and a signature over it would not survive the first server without BINARYMIME")
			}
			body, err := s.sign(ctx, c.Body)
			if err != nil {
				return err
			}
			c.Body = body
			return next(ctx, c)
		}
	}}, nil
}

// stage is what an interceptor knows.
type stage struct {
	signatures     []*signature
	allowLongLines bool
	buffers        sync.Pool // of *[]byte
}

// bufferSize is how much of the content is read at a time, in octets.
const bufferSize = 32 << 10

// refusal is the error for a message that must not be signed as it is.
func refusal(hint, format string, args ...any) error {
	return &core.Error{Stage: core.StagePolicy, Class: core.Local, Err: fmt.Errorf("dkim: "+format, args...), Hint: hint}
}

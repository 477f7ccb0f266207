// Package dkim signs messages with DomainKeys Identified Mail, RFC 6376, by
// RSA (RFC 8301) and Ed25519 (RFC 8463) keys: all with the same signatures, or
// each with those of its author's domain.
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

// Config says what to sign with. There must be Signatures, Domains or a Select.
type Config struct {
	// Signatures are made on every message, and stand in it in this order.
	// Verifiers that do not know Ed25519 skip such a signature, so give an RSA
	// one too.
	Signatures []Signature

	// Domains has the signatures for messages of each domain, where a client
	// sends for several. They stand in front of Signatures.
	//
	// What counts is the domain of the address in the From field, as for DMARC
	// (RFC 7489 §3.1), and not the sender of the envelope. A domain that is not
	// in the table gets the signatures of the nearest one above it that is: those
	// of example.com for news.example.com. DMARC takes that for aligned unless
	// the domain asks for strict alignment (adkim=s); then give each its own. Of
	// the signatures of a domain, one at least must be aligned: made by that
	// domain, or by one above or below it. With several addresses in From, the
	// signatures of each domain are made.
	//
	// The case of the names does not matter, and one that is not ASCII may be
	// given in either form.
	Domains map[string][]Signature
	// Select takes the place of Domains where there is no fixed table. It gets
	// the domain, in lower case and in A-labels ("xn--..."), and decides itself
	// about those above it; what it returns is made as it is. It is called for
	// each message, concurrently, and returns when the context ends. Its error is
	// temporary unless it is a [core.Error].
	Select func(ctx context.Context, domain string) ([]Signature, error)
	// AllowOtherDomains sends messages of domains that are not in Domains, or
	// for which Select returns nothing, with Signatures alone: unsigned if there
	// are none. They are refused otherwise, since DMARC would find no signature
	// of the author's domain.
	AllowOtherDomains bool

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
// empty lines. So is one of a domain that there are no signatures for (see
// [Config]). Bare CR and LF are no reason, because they go out as CRLF, unless
// core.Config.LineEnds refuses them. A message that has a header and nothing
// else gets the empty line that ends a header.
//
// When a [crypto.Signer] or a [KeySource] fails, the error is temporary: the same
// may work later.
// A body that can be read only once cannot be signed and sent, and ends in
// [core.ErrOneShot]. One that changes between signing and sending is not
// delivered.
//
// The signatures are made once for a delivery. A retry sends the same.
func New(config Config) (core.Interceptor, error) {
	s, err := config.prepare()
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
	domains        map[string][]*signature // by what [asciiDomain] returns
	selects        func(ctx context.Context, domain string) ([]Signature, error)
	allowOthers    bool
	allowLongLines bool
	buffers        sync.Pool // of *[]byte
}

// prepare checks a configuration.
func (c *Config) prepare() (*stage, error) {
	switch {
	case c.Domains != nil && c.Select != nil:
		return nil, errors.New("Config.Domains and Config.Select are both set: leave one")
	case len(c.Signatures) == 0 && len(c.Domains) == 0 && c.Select == nil:
		return nil, errors.New("Config.Signatures is empty: give one a Domain, a Selector and a Signer; or set Domains or Select")
	}
	s := &stage{selects: c.Select, allowOthers: c.AllowOtherDomains, allowLongLines: c.AllowLongLines}
	s.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	var err error
	if s.signatures, err = prepare("Config.Signatures", c.Signatures); err == nil && len(c.Domains) > 0 {
		s.domains, err = prepareDomains(c.Domains)
	}
	return s, err
}

// bufferSize is how much of the content is read at a time, in octets.
const bufferSize = 32 << 10

// refusal is the error for a message that must not be signed as it is.
func refusal(hint, format string, args ...any) error {
	return &core.Error{Stage: core.StagePolicy, Class: core.Local, Err: fmt.Errorf("dkim: "+format, args...), Hint: hint}
}

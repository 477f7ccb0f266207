package dkim

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Key is a private key and the selector of its record.
type Key struct {
	// Selector and Signer are those of a [Signature].
	Selector string
	Signer   crypto.Signer

	// NotBefore and NotAfter say when the key signs, for [Schedule]; others do
	// not look at them. Zero means that there is no such limit.
	NotBefore, NotAfter time.Time
}

// String returns the selector, and nothing of the key.
func (k Key) String() string { return k.Selector }

// GoString is String, so that %#v does not show the key either.
func (k Key) GoString() string { return k.String() }

// KeySource returns the key to sign the next message with, for [Signature]. It is
// called for each message once, concurrently; retries of a message keep the
// signature that was made. It returns when the context ends. Its error is
// temporary, unless it is a [core.Error], and ends the delivery before anything
// of it is written.
//
// A selector belongs to one key for ever: verifiers keep its record for a time,
// and messages that it signed are still on their way.
type KeySource func(ctx context.Context) (Key, error)

// Schedule returns a source that goes by the clock: of the keys whose time it
// is, the one whose time began last. Before that, have its record published;
// leave the record of the key before it until nothing that it signed is on its
// way any more, for a week say.
//
// At a time that is none of a key's the source fails.
func Schedule(keys ...Key) (KeySource, error) {
	if len(keys) == 0 {
		return nil, errors.New("dkim: a schedule without keys")
	}
	seen := make(map[string]bool)
	for n, k := range keys {
		if _, field, err := k.check(); err != nil {
			return nil, fmt.Errorf("dkim: key %d of the schedule: %s %w", n, field, err)
		}
		name := recordName(k.Selector, "")
		if seen[name] {
			return nil, fmt.Errorf("dkim: key %d of the schedule: the selector %s has a key already: give each key one of its own", n, k.Selector)
		}
		seen[name] = true
		if !k.NotAfter.IsZero() && !k.NotAfter.After(k.NotBefore) {
			return nil, fmt.Errorf("dkim: key %d of the schedule: NotAfter, %v, does not come after NotBefore, %v", n, k.NotAfter, k.NotBefore)
		}
	}
	// The last one that has begun is the first to be found.
	keys = slices.Clone(keys)
	slices.SortStableFunc(keys, func(a, b Key) int { return b.NotBefore.Compare(a.NotBefore) })
	return func(context.Context) (Key, error) {
		now := time.Now()
		for _, k := range keys {
			if !now.Before(k.NotBefore) && (k.NotAfter.IsZero() || now.Before(k.NotAfter)) {
				return k, nil
			}
		}
		return Key{}, fmt.Errorf("none of the %d keys of the schedule signs at this time: add one", len(keys))
	}, nil
}

// checkedKey is a Key that can sign.
type checkedKey struct {
	selector string
	signer   crypto.Signer
	public   crypto.PublicKey
}

// check returns what is wrong with a key, and with which field.
func (k Key) check() (checked checkedKey, field string, err error) {
	if err := checkDomain(k.Selector); err != nil {
		return checkedKey{}, "Selector", err
	}
	if k.Signer == nil {
		return checkedKey{}, "Signer", errors.New("is nil: set it, with dkim.LoadKey for example")
	}
	public := k.Signer.Public()
	if err := checkPublic(public); err != nil {
		return checkedKey{}, "Signer", fmt.Errorf("has %w", err)
	}
	return checkedKey{selector: k.Selector, signer: k.Signer, public: public}, "", nil
}

// key returns the key to sign a message with.
func (s *signature) key(ctx context.Context) (checkedKey, error) {
	if s.source == nil {
		return s.fixed, nil
	}
	k, err := s.source(ctx)
	if err != nil {
		return checkedKey{}, err
	}
	checked, field, err := k.check()
	if err != nil {
		return checkedKey{}, fmt.Errorf("the %s that Signature.Key returned %w", field, err)
	}
	return checked, nil
}

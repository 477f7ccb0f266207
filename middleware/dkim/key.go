package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"

	"github.com/postrider/postrider/core"
)

// key stands between the signer of one message and the caller's key. The signer
// calls it from a goroutine of its own, where a panic would end the process, and
// knows of no context.
type key struct {
	checkedKey
	ctx    context.Context
	domain string

	// usable is set when the content is complete. The signer cannot be stopped
	// otherwise than by being finished, and what it has then is no message.
	usable atomic.Bool
}

var errAbandoned = errors.New("the content was not complete")

// Public implements [crypto.Signer].
func (k *key) Public() crypto.PublicKey { return k.public }

// Sign implements [crypto.Signer].
func (k *key) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	if !k.usable.Load() {
		return nil, errAbandoned
	}
	switch k.signer.(type) {
	case *rsa.PrivateKey, ed25519.PrivateKey:
		return k.sign(random, digest, options)
	}
	type result struct {
		signature []byte
		err       error
	}
	done := make(chan result, 1)
	go func() {
		signature, err := k.sign(random, digest, options)
		if err == nil {
			err = k.verify(digest, signature)
		}
		done <- result{signature, err}
	}()
	select {
	case r := <-done:
		return r.signature, r.err
	case <-k.ctx.Done():
		return nil, contextError(k.ctx)
	}
}

func (k *key) sign(random io.Reader, digest []byte, options crypto.SignerOpts) (signature []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &core.PanicError{Where: fmt.Sprintf("the DKIM signer %T", k.signer), Value: v, Stack: debug.Stack()}
		}
	}()
	return k.signer.Sign(random, digest, options)
}

// verify checks what a key that is elsewhere came up with.
func (k *key) verify(digest, signature []byte) error {
	ok := false
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest, signature) == nil
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, digest, signature)
	}
	if !ok {
		return errors.New("the signature does not fit the signer's own public key")
	}
	return nil
}

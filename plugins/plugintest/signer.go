package plugintest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/postrider/postrider/plugins"
)

// many is how many calls there are at a time.
const many = 16

// signs checks a key by its public key.
func (k *kit) signs(t *testing.T, id string) {
	key, err := k.start(t).Signer(id)
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, many)
	var signing sync.WaitGroup
	for n := range errs {
		signing.Go(func() { errs[n] = sign(key) })
	}
	signing.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if _, err := key.Sign(rand.Reader, []byte("short"), crypto.SHA256); err == nil {
		t.Error("it signs 5 octets as if they were a digest of SHA-256")
	} else if _, ok := errors.AsType[*plugins.Error](err); ok {
		t.Errorf("a digest that is too short makes the plugin fail: %v", err)
	}
	if err := sign(key); err != nil {
		t.Error("after that: ", err)
	}
}

// sign signs what DKIM has signed, and verifies it.
func sign(key crypto.Signer) error {
	digest := sha256.Sum256([]byte(rand.Text()))
	var options crypto.SignerOpts = crypto.SHA256
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		options = crypto.Hash(0) // RFC 8463 §3
	}
	signature, err := key.Sign(rand.Reader, digest[:], options)
	if err != nil {
		return err
	}
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, digest[:], signature) {
			return errors.New("the signature of ECDSA is wrong")
		}
		return nil
	case ed25519.PublicKey:
		if !ed25519.Verify(public, digest[:], signature) {
			return errors.New("the signature of Ed25519 is wrong")
		}
		return nil
	}
	return fmt.Errorf("a key %T is not one of RSA, ECDSA and Ed25519", key.Public())
}

// end kills a process.
func end(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return errors.Join(p.Kill(), p.Release())
}

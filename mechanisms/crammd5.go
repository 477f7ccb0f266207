package mechanisms

import (
	"context"
	"crypto/hmac"
	"crypto/md5" // what the mechanism is made of
	"encoding/hex"
	"errors"

	"github.com/postrider/postrider/core"
)

// CRAMMD5 returns CRAM-MD5 (RFC 2195): a keyed digest of the server's challenge.
// The password is not shown, but whoever listens can try passwords against what
// was said, and the server needs to hold the password itself. Use it where there
// is no TLS and nothing better.
func CRAMMD5(user, password string) core.Mechanism {
	return &cramMD5{func() (string, string) { return user, password }}
}

type cramMD5 struct {
	credentials func() (user, password string)
}

func (*cramMD5) Name() string { return "CRAM-MD5" }

// KeepsSecret implements [core.SecretKeeper].
func (*cramMD5) KeepsSecret() bool { return true }

// String keeps the password out of whatever prints the mechanism.
func (*cramMD5) String() string { return "CRAM-MD5" }

// GoString is String, for %#v.
func (*cramMD5) GoString() string { return "CRAM-MD5" }

// Check implements [core.Checker].
func (c *cramMD5) Check() error {
	user, password := c.credentials()
	if user == "" || password == "" {
		return errors.New("the user name or the password is empty")
	}
	return nil
}

func (c *cramMD5) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	return &digest{mechanism: c}, nil, nil
}

// digest is one run of CRAM-MD5.
type digest struct {
	mechanism *cramMD5
	answered  bool
}

func (d *digest) Next(_ context.Context, challenge []byte) ([]byte, error) {
	if d.answered {
		return nil, violation("unexpected challenge")
	}
	d.answered = true
	user, password := d.mechanism.credentials()
	mac := hmac.New(md5.New, []byte(password))
	mac.Write(challenge)
	// RFC 2195 §2: the user name, a space, and the digest in lower-case hexadecimal
	return append([]byte(user+" "), hex.EncodeToString(mac.Sum(nil))...), nil
}

func (d *digest) Done(context.Context) error {
	if !d.answered {
		return errors.New("the server sent no challenge")
	}
	return nil
}

// Package ticket is the mechanism X-CORP-TICKET. It knows nothing of plugins.
package ticket

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/core"
)

// Name is what servers announce the mechanism as.
const Name = "X-CORP-TICKET"

// lifetime is how long a ticket is good.
const lifetime = time.Hour

// Mechanism shows a ticket that says who wants to use which server until when. It
// is signed with a key that client and server share.
type Mechanism struct {
	user string
	key  func() []byte // a function: nothing that prints the mechanism prints it
}

// New returns the mechanism for a user and a key.
func New(user string, key []byte) *Mechanism {
	return &Mechanism{user, func() []byte { return key }}
}

// Name implements core.Mechanism.
func (*Mechanism) Name() string { return Name }

// Check implements core.Checker.
func (m *Mechanism) Check() error {
	if m.user == "" || len(m.key()) < 16 {
		return errors.New("there is no user, or the key has fewer than 16 octets")
	}
	return nil
}

// Start makes a ticket for one session. It is all that is sent.
func (m *Mechanism) Start(_ context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	expires := time.Now().Add(lifetime)
	return admission{expires}, Sign(m.key(), m.user, peer.ServerName, expires.Unix()), nil
}

// Sign returns a ticket: HMAC-SHA256 (RFC 2104) behind what it signs.
func Sign(key []byte, user, server string, expires int64) []byte {
	text := fmt.Appendf(nil, "%s\x00%s\x00%d", user, server, expires)
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return fmt.Appendf(text, "\x00%x", mac.Sum(nil))
}

// admission is one run of it.
type admission struct{ expires time.Time }

func (admission) Next(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("unexpected challenge")
}
func (admission) Done(context.Context) error { return nil }

// Expires implements core.Expirer: the session ends with its ticket.
func (a admission) Expires() time.Time { return a.expires }

package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/core"
)

// tickets is the mechanism X-CORP-TICKET: a ticket says who wants to use which
// server until when, and is signed with a key that client and server share.
type tickets struct {
	user     string
	lifetime time.Duration
	key      func() []byte // a function: nothing that prints the mechanism prints it
}

func (*tickets) Name() string { return "X-CORP-TICKET" }

// Start makes a ticket for one session. It is all that is sent.
func (t *tickets) Start(_ context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	expires := time.Now().Add(t.lifetime)
	return admission{expires}, sign(t.key(), t.user, peer.ServerName, expires.Unix()), nil
}

// sign returns a ticket: HMAC-SHA256 (RFC 2104) behind what it signs.
func sign(key []byte, user, server string, expires int64) []byte {
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

// Expires implements [core.Expirer]: the session ends with its ticket.
func (a admission) Expires() time.Time { return a.expires }

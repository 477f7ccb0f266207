// Package mechanismtest checks that a SASL mechanism keeps the rules that a
// session, a client and whoever reads its logs rely on.
//
// The author of a [core.Mechanism] says what there is to know of it, and calls
// [Run] in a test:
//
//	func TestTicket(t *testing.T) {
//		mechanismtest.Run(t, mechanismtest.Config{
//			New:     func(testing.TB) core.Mechanism { return ticket.New("ann", key) },
//			Server:  smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"X-TICKET": verify}},
//			Secrets: []string{key},
//		})
//	}
//
// Each rule is a subtest, whose name says the rule. What is particular to a
// mechanism, such as which server it refuses, is better said by a
// smtptest.Script: see docs/testing.md.
package mechanismtest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// DefaultPatience is the Patience of a [Config] that has none.
const DefaultPatience = 10 * time.Second

// Config says what there is to know of a mechanism. New, Server and Secrets are
// required.
type Config struct {
	// New returns the mechanism, with credentials that Server accepts: another
	// value each time, if it keeps anything. The test is that of the rule which is
	// being checked.
	New func(t testing.TB) core.Mechanism
	// Server is a server that accepts the mechanism: with the mechanism's other
	// side in Mechanisms, or with Users. It has TLS if the mechanism needs that.
	// RequireAuth is set in any case.
	Server smtptest.ServerOptions
	// Secrets is what nobody may see: the password, the key, the token. It is
	// empty and not nil for a mechanism that has none. A secret has 6 octets at
	// least, so that it is not found by chance.
	Secrets []string

	// Vectors are dialogues that are known octet for octet: the examples of the
	// mechanism's specification.
	Vectors []Vector
	// ProvesServer says that the mechanism authenticates the server too: its Done
	// returns an error unless it has got the server's last challenge, and that
	// was the right one. One that does not may still have its Done return an
	// error, if the server reports success before it has asked for anything.
	ProvesServer bool
	// Blocked returns the mechanism in a state in which Start or Next waits for
	// something that does not come: a token service that does not answer. Nil is
	// for a mechanism that never waits.
	Blocked func(t testing.TB) core.Mechanism

	// Patience is how long a call of the mechanism may take: what takes longer is
	// taken to block for ever. Zero means DefaultPatience.
	Patience time.Duration
}

// Vector is a whole dialogue, behind which the server reports success.
type Vector struct {
	// Name says where it comes from: "RFC 2195 §2".
	Name string
	// New returns the mechanism with the credentials and the nonce of this
	// dialogue. Nil stands for Config.New.
	New func(t testing.TB) core.Mechanism
	// Peer is the server. Nil stands for one of which nothing is known but its
	// name, server.example, and that it is on this machine.
	Peer *core.Peer
	// Initial is the initial response: nil for none, which is not the same as an
	// empty one.
	Initial []byte
	// Rounds are what follows.
	Rounds []Round
}

// Round is a challenge and the response to it, not in base64.
type Round struct{ Challenge, Response []byte }

// Run checks the mechanism, by some hundred authentications with a server on a
// loopback socket. Most of them have a challenge that no good server sends.
//
// It is not to run in parallel with tests that start goroutines, since it looks
// for those that are left. With the race detector it sees more.
func Run(t *testing.T, config Config) {
	t.Helper()
	k, err := newKit(config)
	if err != nil {
		t.Fatal("mechanismtest.Run: ", err)
	}
	defer k.close()
	for _, r := range rules {
		kept := t.Run(r.name, func(t *testing.T) {
			k.t = t
			if err := r.check(k); err != nil {
				t.Error(err)
			}
		})
		if !kept && r.essential {
			t.Log("the other rules were not checked, because they need this one")
			return
		}
	}
}

// minSecret is how long a secret is at least, in octets.
const minSecret = 6

func (c *Config) check() error {
	switch {
	case c.New == nil:
		return errors.New("Config.New is nil: it is to return the mechanism")
	case c.Secrets == nil:
		return errors.New("Config.Secrets is nil: list what nobody may see, or set it to an empty list if there is nothing")
	case c.Patience < 0:
		return errors.New("Config.Patience is negative")
	case len(c.Server.Mechanisms)+len(c.Server.Users) == 0:
		return errors.New("Config.Server accepts no mechanism: set its Mechanisms or its Users")
	}
	for n, secret := range c.Secrets {
		if len(secret) < minSecret {
			return fmt.Errorf("secret %d of Config.Secrets has %d octets: use credentials of %d at least, which do not occur by chance", n, len(secret), minSecret)
		}
	}
	return nil
}

// Package mechanisms has the SASL mechanisms that come with the client, each
// together with the credentials that it uses.
//
// A mechanism is a [core.Mechanism]: immutable, safe for concurrent use, and
// good for any number of sessions. Writing one takes a name and a Start method;
// the example of this package does it in a screenful.
package mechanisms

import (
	"github.com/postrider/postrider/core"
)

// Password returns the mechanisms that authenticate with a user name and a
// password under TLS, for core.Config.Auth: PLAIN, and LOGIN for servers that
// offer no other.
func Password(user, password string) []core.Mechanism {
	return []core.Mechanism{Plain(user, password), Login(user, password)}
}

// Package mechanisms has the SASL mechanisms that come with the client, each
// together with the credentials that it uses, and the sources that credentials
// come from.
//
// A mechanism is a [core.Mechanism]: immutable, safe for concurrent use, and
// good for any number of sessions. Writing one takes a name and a Start method;
// the example of this package does it in a screenful, and package mechanismtest
// puts it to the test.
package mechanisms

import (
	"slices"

	"github.com/postrider/postrider/core"
)

// Password returns the mechanisms that authenticate with a user name and a
// password, for core.Config.Auth, the strongest first: SCRAM bound to the TLS
// connection, SCRAM, CRAM-MD5, PLAIN and LOGIN. SCRAM is left out if it cannot
// carry the credentials: a password that has an emoji in it, say.
func Password(user, password string) []core.Mechanism {
	list := passwordMechanisms(func(mechanism func(user, password string) core.Mechanism) core.Mechanism {
		return mechanism(user, password)
	})
	return slices.DeleteFunc(list, func(m core.Mechanism) bool {
		_, optional := m.(*scramMechanism)
		return optional && check(m) != nil
	})
}

// PasswordFrom is Password for credentials that come from a source: see [From].
func PasswordFrom(source Source) []core.Mechanism {
	return passwordMechanisms(func(mechanism func(user, password string) core.Mechanism) core.Mechanism {
		return From(source, mechanism)
	})
}

func passwordMechanisms(with func(mechanism func(user, password string) core.Mechanism) core.Mechanism) []core.Mechanism {
	return []core.Mechanism{
		with(SCRAMSHA512Plus), with(SCRAMSHA256Plus), with(SCRAMSHA1Plus),
		with(SCRAMSHA512), with(SCRAMSHA256), with(SCRAMSHA1),
		with(CRAMMD5), with(Plain), with(Login),
	}
}

// OAuth returns the mechanisms that authenticate with an access token of OAuth
// 2.0, for core.Config.Auth: OAUTHBEARER, and XOAUTH2 for servers that know no
// other. XOAUTH2 is left out if there is no user.
func OAuth(user string, tokens TokenSource) []core.Mechanism {
	list := []core.Mechanism{OAuthBearer(user, tokens)}
	if user != "" {
		list = append(list, XOAuth2(user, tokens))
	}
	return list
}

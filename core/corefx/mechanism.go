package corefx

import (
	"cmp"
	"fmt"
	"slices"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
)

// Mechanism is a [core.Mechanism] and where it comes from: a member of the group
// that [AsMechanism] adds to.
type Mechanism struct {
	core.Mechanism
	// Origin names the constructor that it comes from, for errors.
	Origin string
}

// AsMechanism adds a mechanism to those that the client may authenticate with.
//
// The constructor is a function that returns a core.Mechanism, a type that
// implements it, or a []core.Mechanism, which may be empty; and an error if it
// can fail. Its parameters come from the application.
//
// The client uses the first mechanism that the server offers. Those in
// core.Config.Auth come first, in their order. Then come mechanisms that are not
// in the list below, by name: to add one is to want it used. Then the known
// ones, the strongest first:
//
//	EXTERNAL
//	SCRAM-SHA-512-PLUS, SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS
//	GS2-KRB5-PLUS, GS2-KRB5, GSSAPI, GSS-SPNEGO
//	SCRAM-SHA-512, SCRAM-SHA-256, SCRAM-SHA-1
//	OAUTHBEARER, XOAUTH2
//	NTLM, DIGEST-MD5, CRAM-MD5
//	PLAIN, LOGIN
//	ANONYMOUS
func AsMechanism(constructor any) fx.Option {
	from, err := inspect(constructor, "AsMechanism", wanted[core.Mechanism](), wanted[[]core.Mechanism]())
	if err != nil {
		return fx.Error(err)
	}
	return provideOneOrMore(from, func(m core.Mechanism) Mechanism { return Mechanism{m, from.origin} }, "postrider.mechanisms")
}

func (m Mechanism) origin() string { return originOr(m.Origin) }

// strength is the order of known mechanisms.
var strength = [...]string{
	"EXTERNAL",                                                     // proven by TLS, nothing is sent
	"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", // bound to the TLS channel
	"GS2-KRB5-PLUS", "GS2-KRB5", "GSSAPI", "GSS-SPNEGO",
	"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1",
	"OAUTHBEARER", "XOAUTH2", // a secret is shown, but one that expires
	"NTLM", "DIGEST-MD5", "CRAM-MD5", // no secret is shown, but a weak proof of it
	"PLAIN", "LOGIN", // the password is shown
	"ANONYMOUS",
}

// rank returns the place of a mechanism in the order; it is negative for one
// that is not known.
func rank(m Mechanism) int { return slices.Index(strength[:], m.Name()) }

// mergeMechanisms puts the group's mechanisms in order behind those of the
// configuration.
func mergeMechanisms(configured []core.Mechanism, group []Mechanism) ([]core.Mechanism, error) {
	origins := newOrigins("mechanisms named", "core.Config.Auth")
	for _, m := range configured {
		if m != nil { // a nil one is the core's to refuse
			if err := origins.add(m.Name(), ""); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range group {
		if m.Mechanism == nil {
			return nil, fmt.Errorf("%s returned a mechanism that is nil", m.origin())
		}
	}
	ordered := slices.SortedFunc(slices.Values(group), func(a, b Mechanism) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.Origin, b.Origin))
	})
	all := configured[:len(configured):len(configured)]
	for _, m := range ordered {
		if err := origins.add(m.Name(), m.Origin); err != nil {
			return nil, err
		}
		all = append(all, m.Mechanism)
	}
	return all, nil
}

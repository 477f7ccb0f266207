package core

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Mechanism is a SASL mechanism (RFC 4422) together with the credentials that
// it uses. It is immutable and safe for concurrent use.
//
// The mechanism deals in plain octets: base64, line lengths, the "=" of an empty
// initial response and the "*" of a cancel (RFC 4954 §4) are the session's.
type Mechanism interface {
	// Name returns the mechanism's name as EHLO announces it, registered with
	// IANA or private: 1 to 20 upper-case letters, digits, hyphens and
	// underscores (RFC 4422 §3.1).
	Name() string

	// Start begins one authentication to peer. The initial response goes out
	// with the AUTH command: nil for a mechanism without one, empty for an
	// empty one. Start may block, on a token service say, and honours ctx.
	Start(ctx context.Context, peer *Peer) (a Authentication, initial []byte, err error)
}

// Authentication is one run of a [Mechanism]. It is used by one goroutine and
// for one AUTH command. One that holds something, a stream to another process say,
// implements [io.Closer]: Close is called once, when AUTH is over whatever came of
// it, and when that has run to which Refused led.
type Authentication interface {
	// Next answers a challenge of the server. An error cancels the
	// authentication.
	Next(ctx context.Context, challenge []byte) (response []byte, err error)

	// Done has the last word when the server reports success: a mechanism that
	// authenticates the server too returns an error here if it is not
	// satisfied, and the session is then closed.
	Done(ctx context.Context) error
}

// SecretKeeper is implemented by a mechanism that can tell whether it may be
// used where others listen. One that does not implement it is taken to show a
// reusable secret, and is refused without TLS.
type SecretKeeper interface {
	// KeepsSecret reports that nothing that the mechanism sends lets a listener
	// authenticate later.
	KeepsSecret() bool
}

// Expirer is implemented by an [Authentication] whose credential expires: a token
// of OAuth, say. A client uses the session for no further message then.
type Expirer interface {
	// Expires returns when, or the zero time for never. It is called after
	// Done.
	Expires() time.Time
}

// Checker is implemented by a mechanism that can tell, when a client is made,
// that it will not work: because of a user name that is empty, say.
type Checker interface {
	// Check returns why the mechanism cannot work. It opens nothing. An error that
	// is an [*Error] keeps its class and its hint.
	Check() error
}

// PeerChecker is implemented by a mechanism that not every server suits: that
// needs TLS, say, or a client certificate that was asked for.
type PeerChecker interface {
	// CheckPeer returns why the mechanism cannot work with this server: the
	// next one is chosen then. It opens nothing.
	CheckPeer(peer *Peer) error
}

// RefusalHandler is implemented by an [Authentication] that wants to know when
// the server refuses it: because a token that was kept is no longer good, say.
type RefusalHandler interface {
	// Refused is told of a reply 4yz or 5yz, but for 421. It may set Err, Hint and Class of
	// refusal, if it knows more than the reply says. It returns nil, or the same
	// mechanism with other credentials: if the refusal is for good and the
	// session lives, that is run once then, and nothing after it.
	Refused(ctx context.Context, refusal *Error) (other Mechanism)
}

// endAuthentication has an authentication let go of what it holds.
func endAuthentication(a Authentication) {
	if c, ok := a.(io.Closer); ok {
		_ = c.Close() // AUTH has its outcome
	}
}

func keepsSecret(m Mechanism) bool {
	k, ok := m.(SecretKeeper)
	return ok && k.KeepsSecret()
}

// mechanismSet is the registry of a client: its mechanisms in order of
// preference.
type mechanismSet struct {
	list  []Mechanism
	least int // rank of the weakest that may be used; negative for any
}

func newMechanismSet(list []Mechanism, least string) (_ *mechanismSet, err error) {
	defer contain("a mechanism", &err)
	set := &mechanismSet{list: list, least: rank(least)}
	if least != "" && set.least < 0 {
		return nil, fmt.Errorf("Config.LeastMechanism %q has no place in the order of mechanisms: use one that CompareStrength lists", least)
	}
	seen := make(map[string]Mechanism, len(list))
	for n, m := range list {
		if m == nil {
			return nil, fmt.Errorf("mechanism %d is nil", n)
		}
		name := m.Name()
		if !validMechanismName(name) {
			return nil, fmt.Errorf("mechanism %T has the name %q: use 1 to 20 upper-case letters, digits, hyphens and underscores", m, name)
		}
		if other, ok := seen[name]; ok {
			return nil, fmt.Errorf("two mechanisms are named %s: %T and %T", name, other, m)
		}
		seen[name] = m
		if c, ok := m.(Checker); ok {
			if err := c.Check(); err != nil {
				return nil, partError("mechanism "+name, err)
			}
		}
	}
	if len(list) > 0 && set.least >= 0 && !slices.ContainsFunc(list, func(m Mechanism) bool { return rank(m.Name()) <= set.least }) {
		return nil, fmt.Errorf("Config.LeastMechanism %s is stronger than each mechanism in Config.Auth: add one that is as strong", least)
	}
	return set, nil
}

func validMechanismName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return name != "" && len(name) <= 20
}

// insecureMechanism refuses to show a secret to whoever listens, RFC 4954 §4.
func insecureMechanism(m Mechanism) *Error {
	return localError(StageAuth, fmt.Errorf("%w: %s shows a reusable secret, and the connection is not protected by verified TLS", ErrTLSRequired, m.Name()),
		"use smtps or STARTTLS with a certificate that verifies, or set AllowInsecureAuth")
}

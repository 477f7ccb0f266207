package mechanisms

import (
	"cmp"
	"fmt"

	"github.com/xdg-go/scram"

	"github.com/postrider/postrider/core"
)

// Hash is the hash function of a SCRAM mechanism.
type Hash uint8

// The hash functions.
const (
	SHA256 Hash = iota // RFC 7677
	SHA1               // RFC 5802
	SHA512
)

// String returns the name of the hash function as it stands in the names of
// mechanisms: "SHA-256".
func (h Hash) String() string {
	switch h {
	case SHA256:
		return "SHA-256"
	case SHA1:
		return "SHA-1"
	case SHA512:
		return "SHA-512"
	}
	return fmt.Sprintf("Hash(%d)", uint8(h))
}

// generator returns the hash function as the library has it, or nil for one that
// is not known.
func (h Hash) generator() scram.HashGeneratorFcn {
	switch h {
	case SHA256:
		return scram.SHA256
	case SHA1:
		return scram.SHA1
	case SHA512:
		return scram.SHA512
	}
	return nil
}

const (
	defaultMinIterations = 4096 // RFC 5802 §5.1, RFC 7677 §4
	defaultMaxIterations = 1_000_000
)

// SCRAM is a variant of SCRAM (RFC 5802): client and server prove to each other
// that they know the password, and neither shows it. The server does not need to
// hold it. The zero value is SCRAM-SHA-256 (RFC 7677).
//
// Without Plus, the mechanism tells the server that it could have bound itself to
// TLS, if it could and the server does not offer that: a server that did offer it
// learns so that somebody on the way changed what it said, and refuses.
type SCRAM struct {
	// Hash is the hash function.
	Hash Hash
	// Plus binds the authentication to the TLS connection: it fails if somebody
	// stands between client and server, even with a certificate that the client
	// trusts. The mechanism is passed over where there is no TLS to bind to.
	Plus bool
	// Identity is the user to act as, if that is not the one whose password it
	// is.
	Identity string
	// Binding is what to bind to: the best there is, or one that the server
	// insists on.
	Binding Binding
	// MinIterations is how many iterations of the hash function the server must
	// ask for, so that the password cannot be guessed cheaply from what was said.
	// Zero stands for 4096.
	MinIterations int
	// MaxIterations is how many it may ask for, so that it cannot keep this side
	// busy: a million takes most of a second, which no context can cut short.
	// Zero stands for 1,000,000.
	MaxIterations int
}

// Mechanism returns the mechanism for a user. User, password and identity are
// prepared by SASLprep (RFC 4013), as servers do it; a password with a character
// that Unicode 3.2 does not have, an emoji say, cannot be used.
//
// The mechanism keeps the last keys that it derived from the password: what a
// server asks for again, with the same salt, is not computed again.
//
// A refusal that the server explains is an error of the type [*SCRAMError]. A
// server that breaks the rules is an error of the kind core.ErrProtocol. That one
// is permanent if the server does not prove that it knows the password; and so is
// the error about too few or too many iterations.
func (s SCRAM) Mechanism(user, password string) core.Mechanism {
	s.MinIterations = cmp.Or(s.MinIterations, defaultMinIterations)
	s.MaxIterations = cmp.Or(s.MaxIterations, defaultMaxIterations)
	name := "SCRAM-" + s.Hash.String()
	if s.Plus {
		name += plusSuffix
	}
	keys, err := s.newKeys(user, password)
	return &scramMechanism{name: name, config: s, err: err, keys: func() *scramKeys { return keys }}
}

func (s SCRAM) check() error {
	switch {
	case s.Hash.generator() == nil:
		return fmt.Errorf("SCRAM.Hash is %v, which is not known", s.Hash)
	case s.Binding > TLSServerEndPoint:
		return fmt.Errorf("SCRAM.Binding is %v, which is not known", s.Binding)
	case s.MinIterations < 0 || s.MaxIterations < s.MinIterations:
		return fmt.Errorf("SCRAM.MinIterations %d to MaxIterations %d leaves nothing to accept", s.MinIterations, s.MaxIterations)
	}
	return nil
}

// SCRAMSHA1 returns SCRAM-SHA-1 (RFC 5802).
func SCRAMSHA1(user, password string) core.Mechanism {
	return SCRAM{Hash: SHA1}.Mechanism(user, password)
}

// SCRAMSHA256 returns SCRAM-SHA-256 (RFC 7677).
func SCRAMSHA256(user, password string) core.Mechanism {
	return SCRAM{Hash: SHA256}.Mechanism(user, password)
}

// SCRAMSHA512 returns SCRAM-SHA-512, which is named by the rule of RFC 5802 §4.
func SCRAMSHA512(user, password string) core.Mechanism {
	return SCRAM{Hash: SHA512}.Mechanism(user, password)
}

// SCRAMSHA1Plus returns SCRAM-SHA-1-PLUS (RFC 5802), bound to the TLS connection.
func SCRAMSHA1Plus(user, password string) core.Mechanism {
	return SCRAM{Hash: SHA1, Plus: true}.Mechanism(user, password)
}

// SCRAMSHA256Plus returns SCRAM-SHA-256-PLUS (RFC 7677), bound to the TLS
// connection.
func SCRAMSHA256Plus(user, password string) core.Mechanism {
	return SCRAM{Hash: SHA256, Plus: true}.Mechanism(user, password)
}

// SCRAMSHA512Plus returns SCRAM-SHA-512-PLUS, bound to the TLS connection.
func SCRAMSHA512Plus(user, password string) core.Mechanism {
	return SCRAM{Hash: SHA512, Plus: true}.Mechanism(user, password)
}

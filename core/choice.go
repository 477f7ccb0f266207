package core

import (
	"errors"
	"fmt"
	"strings"
)

// Choice is which mechanism a session authenticates with, and why: the first of
// the configured ones that will do.
type Choice struct {
	// Mechanism is the chosen one, or nil if none will do.
	Mechanism Mechanism
	// Offered is the mechanisms that the server announces, in its order.
	Offered []string
	// Candidates is the mechanisms that are configured, in order of preference.
	Candidates []Candidate
}

// Candidate is a mechanism that was considered.
type Candidate struct {
	// Mechanism is the one that is meant.
	Mechanism Mechanism
	// Err is why it will not do; nil for the one that is chosen, and for others
	// behind it that would have done. It is of the kind [ErrNotSupported] if the
	// server does not offer it, and of the kind [ErrTLSRequired] if it would show
	// a reusable secret.
	Err error
}

// ErrTooWeak is that a mechanism is weaker than Config.LeastMechanism allows.
var ErrTooWeak = errors.New("weaker than the least that is allowed")

var (
	errNotOffered  = fmt.Errorf("%w: it is not offered", ErrNotSupported)
	errShowsSecret = fmt.Errorf("%w: it would show a reusable secret, and the connection is not protected by verified TLS", ErrTLSRequired)
)

// ChooseMechanism says which of the mechanisms in the configuration a client
// would use for peer, and why. It opens nothing. Of the configuration, Auth,
// LeastMechanism and AllowInsecureAuth count.
func ChooseMechanism(config Config, peer *Peer) (Choice, error) {
	set, err := newMechanismSet(config.Auth, config.LeastMechanism)
	if err != nil {
		return Choice{}, configError(err)
	}
	return set.choose(peer, config.AllowInsecureAuth), nil
}

// String says on one line what was chosen and why, without any credential:
//
//	SCRAM-SHA-256, the first that will do of SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN; not offered: SCRAM-SHA-256-PLUS
func (c Choice) String() string {
	var b strings.Builder
	switch {
	case c.Mechanism != nil:
		fmt.Fprintf(&b, "%s, the first that will do of", c.Mechanism.Name())
	case len(c.Candidates) == 0:
		b.WriteString("none is configured")
	default:
		b.WriteString("none will do of")
	}
	for _, candidate := range c.Candidates {
		b.WriteString(" " + candidate.Mechanism.Name())
	}
	b.WriteString(c.reasons())
	return oneLine(b.String())
}

// reasons says why those will not do that will not.
func (c Choice) reasons() string {
	var missing, weak, others string
	for _, candidate := range c.Candidates {
		switch name := candidate.Mechanism.Name(); {
		case candidate.Err == nil:
		case candidate.Err == errNotOffered:
			missing += " " + name
		case errors.Is(candidate.Err, ErrTooWeak):
			weak += " " + name
		default:
			others += fmt.Sprintf("; %s: %v", name, candidate.Err)
		}
	}
	if missing != "" {
		missing = "; not offered:" + missing
	}
	if weak != "" {
		weak = "; weaker than LeastMechanism allows:" + weak
	}
	return missing + weak + others
}

// err is the error of a session for which no mechanism will do, or nil.
func (c Choice) err(peer *Peer) error {
	if c.Mechanism != nil {
		return nil
	}
	e := &Error{Stage: StageAuth, Class: Permanent}
	if !peer.Extensions.Has("AUTH") {
		e.Err = fmt.Errorf("%w: it announces no AUTH", ErrNotSupported)
		e.Hint = "check the port: submission servers offer AUTH on 587 and 465, often only after STARTTLS"
		return e
	}
	for _, candidate := range c.Candidates {
		if errors.Is(candidate.Err, errShowsSecret) {
			return insecureMechanism(candidate.Mechanism)
		}
	}
	e.Err = &unsuitedError{c}
	e.Hint = "configure one that the server offers"
	return e
}

// unsuitedError says that no mechanism will do.
type unsuitedError struct{ choice Choice }

func (e *unsuitedError) Error() string {
	return fmt.Sprintf("%v: no common mechanism: it offers %s; %s", ErrNotSupported, strings.Join(e.choice.Offered, " "), e.choice)
}

// Unwrap returns the kind, and why each mechanism will not do.
func (e *unsuitedError) Unwrap() []error {
	errs := []error{ErrNotSupported}
	for _, candidate := range e.choice.Candidates {
		errs = append(errs, candidate.Err)
	}
	return errs
}

// choose considers all mechanisms.
func (set *mechanismSet) choose(peer *Peer, allowInsecure bool) Choice {
	c := Choice{Offered: peer.Extensions.Mechanisms()}
	for _, m := range set.list {
		err := set.suits(m, peer, c.Offered, allowInsecure)
		if err == nil && c.Mechanism == nil {
			c.Mechanism = m
		}
		c.Candidates = append(c.Candidates, Candidate{m, err})
	}
	return c
}

// suits returns why a mechanism will not do.
func (set *mechanismSet) suits(m Mechanism, peer *Peer, offered []string, allowInsecure bool) (err error) {
	defer contain("mechanism "+m.Name(), &err)
	name := m.Name()
	switch n := rank(name); {
	case set.least >= 0 && n > set.least:
		return fmt.Errorf("it is %w, %s", ErrTooWeak, strengths[set.least])
	case !containsFold(offered, name):
		return errNotOffered
	case !allowInsecure && !keepsSecret(m) && !peer.Secure():
		return errShowsSecret
	}
	if c, ok := m.(PeerChecker); ok {
		return c.CheckPeer(peer)
	}
	return nil
}

func containsFold(list []string, name string) bool {
	for _, s := range list {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}

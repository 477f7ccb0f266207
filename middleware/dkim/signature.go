package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// Canonicalization says how much a message may change on its way without
// breaking the signature, RFC 6376 §3.4.
type Canonicalization uint8

const (
	// Relaxed tolerates changes of white space, of folding, and of the case of
	// field names.
	Relaxed Canonicalization = iota
	// Simple tolerates next to nothing.
	Simple
)

// Signature is one signature to be made. Domain is required, and so are Selector
// and Signer or, instead of both, Key.
type Signature struct {
	// Domain takes the responsibility for the message (d=). For DMARC it is that
	// of the From field, or one above it. A domain that is not ASCII is given in
	// its A-label form, "xn--...".
	Domain string
	// Selector is the name of the key below the domain (s=): the public key is
	// in the TXT record of SELECTOR._domainkey.DOMAIN. See [Record].
	Selector string
	// Signer holds the private key: RSA of 1024 bits at least (RFC 8301 §3.2),
	// better 2048, or Ed25519. It is called concurrently. See [LoadKey].
	Signer crypto.Signer
	// Key takes the place of Selector and Signer where they change while the
	// client lives: see [Schedule] and [KeyFile].
	Key KeySource
	// Identity is the agent or user within the domain on whose behalf the
	// message is signed (i=): "@DOMAIN" or "user@DOMAIN", or the same below the
	// domain. Normally it is left empty.
	Identity string

	// HeaderKeys are the names of the fields to sign, in any case. All fields of
	// such a name are signed; those that a message does not have do no harm. From
	// is signed even if it is not named. Nil means [DefaultHeaderKeys].
	HeaderKeys []string
	// OverSign are the names of the fields of which nobody shall be able to add
	// another one: they are listed once more than they occur (RFC 6376 §5.4).
	// Nil means, of what HeaderKeys has: From, Reply-To, Subject, To and Cc; and
	// if the message has them Sender, Date, Message-ID, MIME-Version, Content-Type
	// and Content-Transfer-Encoding, which a server may have to add. An empty list
	// means none.
	OverSign []string

	// HeaderCanonicalization and BodyCanonicalization are both relaxed unless
	// set (c=).
	HeaderCanonicalization, BodyCanonicalization Canonicalization
	// Expiration is how long the signature is valid, a second at least (x=). Zero
	// means for ever. A message may be under way for days.
	Expiration time.Duration
}

// String returns domain and selector, and nothing of the key.
func (s Signature) String() string {
	if s.Key != nil {
		return "*._domainkey." + s.Domain
	}
	return s.Selector + "._domainkey." + s.Domain
}

// GoString is String, so that %#v does not show the key either.
func (s Signature) GoString() string { return s.String() }

// signature is a Signature that was checked.
type signature struct {
	options    dkim.SignOptions // without what differs from message to message
	fields     []fieldRule
	expiration time.Duration
	source     KeySource
	fixed      checkedKey // without a source
}

// prepare checks the signatures. The name of the list is for errors.
func prepare(name string, list []Signature) ([]*signature, error) {
	seen := make(map[string]bool)
	var prepared []*signature
	for n := range list {
		s, field, err := list[n].prepare()
		if err != nil {
			return nil, fmt.Errorf("%s[%d].%s %w", name, n, field, err)
		}
		if s.source == nil {
			record := recordName(s.fixed.selector, s.options.Domain)
			if seen[record] {
				return nil, fmt.Errorf("%s[%d]: %s is signed for already: give each key a selector of its own", name, n, record)
			}
			seen[record] = true
		}
		prepared = append(prepared, s)
	}
	return prepared, nil
}

// recordName returns where the public key is in the DNS, RFC 6376 §3.6.2.1.
func recordName(selector, domain string) string {
	return strings.ToLower(selector + "._domainkey." + domain)
}

// prepare checks a signature. With an error comes the field that it is about.
func (s *Signature) prepare() (prepared *signature, field string, err error) {
	if err := checkDomain(s.Domain); err != nil {
		return nil, "Domain", err
	}
	var fixed checkedKey
	if s.Key == nil {
		if fixed, field, err = (Key{Selector: s.Selector, Signer: s.Signer}).check(); err != nil {
			return nil, field, err
		}
	} else if s.Selector != "" || s.Signer != nil {
		return nil, "Key", errors.New("is set, and so is Selector or Signer: leave those empty, or leave Key nil")
	}
	if err := s.checkIdentity(); err != nil {
		return nil, "Identity", err
	}
	rules, field, err := fieldRules(s.HeaderKeys, s.OverSign)
	if err != nil {
		return nil, field, err
	}
	header, err := s.HeaderCanonicalization.name()
	if err != nil {
		return nil, "HeaderCanonicalization", err
	}
	body, err := s.BodyCanonicalization.name()
	if err != nil {
		return nil, "BodyCanonicalization", err
	}
	if s.Expiration != 0 && s.Expiration < time.Second {
		return nil, "Expiration", fmt.Errorf("is %v: the least is a second, and zero means for ever", s.Expiration)
	}
	return &signature{
		options: dkim.SignOptions{
			Domain: s.Domain, Identifier: s.Identity,
			HeaderCanonicalization: header, BodyCanonicalization: body,
		},
		fields: rules, expiration: s.Expiration, source: s.Key, fixed: fixed,
	}, "", nil
}

func (c Canonicalization) name() (dkim.Canonicalization, error) {
	switch c {
	case Relaxed:
		return dkim.CanonicalizationRelaxed, nil
	case Simple:
		return dkim.CanonicalizationSimple, nil
	}
	return "", fmt.Errorf("is %d, which does not exist", c)
}

// checkPublic accepts the keys that DKIM knows.
func checkPublic(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 1024 {
			return fmt.Errorf("an RSA key of %d bits: verifiers want 1024 at least (RFC 8301), better 2048", n)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("a key of type %T: DKIM knows RSA and Ed25519", public)
}

// checkDomain accepts names that can stand in the DNS and in a tag's value.
func checkDomain(name string) error {
	if name == "" {
		return errors.New("is empty")
	}
	if len(name) > 253 {
		return errors.New("is longer than 253 octets")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%q has a label that is empty or longer than 63 octets", name)
		}
		for _, c := range []byte(label) {
			if !isLetterOrDigit(c) && c != '-' && c != '_' {
				return fmt.Errorf("%q is no domain name of letters, digits and hyphens: write one that is not ASCII in its A-label form, xn--", name)
			}
		}
	}
	return nil
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func (s *Signature) checkIdentity() error {
	if s.Identity == "" {
		return nil
	}
	local, domain, ok := strings.Cut(s.Identity, "@")
	if !ok {
		return fmt.Errorf("%q has no @", s.Identity)
	}
	for _, c := range []byte(local) {
		// What is left out could end the tag (RFC 6376 §2.11).
		if !isLetterOrDigit(c) && !strings.ContainsRune("!#$%&'*+-/?^_`{|}~.", rune(c)) {
			return fmt.Errorf("%q has a local part with %q in it", s.Identity, c)
		}
	}
	if err := checkDomain(domain); err != nil {
		return fmt.Errorf("%q has a domain that does not fit: %w", s.Identity, err)
	}
	if !within(domain, s.Domain) {
		return fmt.Errorf("%q is not within the domain %q", s.Identity, s.Domain)
	}
	return nil
}

// within reports whether a domain is another one or below it.
func within(domain, other string) bool {
	domain, other = strings.ToLower(domain), strings.ToLower(other)
	return domain == other || strings.HasSuffix(domain, "."+other)
}

// Package ntlm has the SASL mechanism NTLM (MS-SMTPNTLM) with NTLMv2, for
// Exchange servers that offer nothing better. It is a module of its own: a
// program that does not import it does not get its library.
//
// It is given to a client like any other mechanism, with a password or with a
// source of passwords:
//
//	config.Auth = []core.Mechanism{ntlm.New(`EXAMPLE\alice`, password)}
//	config.Auth = []core.Mechanism{mechanisms.From(source, ntlm.New)}
//
// Anybody who can read along can try passwords against what was said, and who
// sits between client and server can log in elsewhere in the domain with it: it
// is bound neither to the server nor to TLS. So a session refuses it without
// TLS, as it does PLAIN, though the password is not shown.
//
// A server with Extended Protection refuses it over TLS: the library does not
// bind to the channel.
package ntlm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/Azure/go-ntlmssp"

	"github.com/postrider/postrider/core"
)

const (
	// maxChallenge is how many octets a challenge may have. RFC 4954 §4 allows
	// 12288 octets of base64; a domain controller sends some hundred.
	maxChallenge = 12288 / 4 * 3
	// maxName is how many octets a name may have. Windows has 1024 characters at
	// most, and beyond 32767 the lengths in a message wrap around.
	maxName = 4096
)

// New returns NTLM for a user and a password. The user is one of
//
//	DOMAIN\alice        a domain and an account in it
//	alice@example.com   a principal name, of which the server knows the domain
//	alice               an account in the server's own domain
//
// Both are UTF-8. Without TLS a session refuses to use it, unless the server is
// on this machine.
func New(user, password string) core.Mechanism { return NewAt("", user, password) }

// NewAt is New with the name of this workstation, for accounts that may log in
// from some workstations only. The server has no means to verify it.
func NewAt(workstation, user, password string) core.Mechanism {
	return &mechanism{func() (string, string, string) { return workstation, user, password }}
}

// mechanism keeps its credentials in a function, which fmt cannot look into.
type mechanism struct {
	credentials func() (workstation, user, password string)
}

func (*mechanism) Name() string { return "NTLM" }

// KeepsSecret implements [core.SecretKeeper]. A listener cannot use what he saw
// again as it is, for each challenge is new. But passwords can be tried against
// it as fast as MD5 goes, and whoever is in between can have the challenge of
// another server answered and log in there. TLS prevents both.
func (*mechanism) KeepsSecret() bool { return false }

// String keeps the password out of whatever prints the mechanism.
func (*mechanism) String() string { return "NTLM" }

// GoString is String, for %#v.
func (*mechanism) GoString() string { return "NTLM" }

// Check implements [core.Checker].
func (m *mechanism) Check() error {
	workstation, user, password := m.credentials()
	for _, f := range []struct{ what, value string }{{"user name", user}, {"password", password}, {"workstation", workstation}} {
		if !utf8.ValidString(f.value) || len(f.value) > maxName {
			return fmt.Errorf("the %s is not UTF-8 or has more than %d octets", f.what, maxName)
		}
	}
	if _, account, found := strings.Cut(user, `\`); found {
		user = account
	}
	if user == "" || password == "" {
		return errors.New("the user name or the password is empty")
	}
	return nil
}

func (m *mechanism) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	if err := m.Check(); err != nil {
		return nil, nil, err
	}
	// The names that go here are the client machine's, and a server on the same
	// machine may log in its user for them: they stay empty.
	negotiate, err := ntlmssp.NewNegotiateMessage("", "")
	if err != nil {
		return nil, nil, fmt.Errorf("making the first message: %w", err)
	}
	// MS-SMTPNTLM §3.1.5.1: with an initial response the next octets of the
	// server are a challenge; without, they are any text, and not base64.
	return &exchange{mechanism: m}, negotiate, nil
}

// exchange is one run of NTLM.
type exchange struct {
	mechanism *mechanism
	answered  bool
}

func (e *exchange) Next(_ context.Context, challenge []byte) ([]byte, error) {
	if e.answered {
		return nil, fmt.Errorf("%w: unexpected challenge", core.ErrProtocol)
	}
	if len(challenge) > maxChallenge {
		return nil, fmt.Errorf("%w: its NTLM challenge has %d octets, more than %d", core.ErrProtocol, len(challenge), maxChallenge)
	}
	workstation, user, password := e.mechanism.credentials()
	authenticate, err := ntlmssp.NewAuthenticateMessage(challenge, user, password, &ntlmssp.AuthenticateMessageOptions{WorkstationName: workstation})
	if err != nil {
		return nil, fmt.Errorf("%w: its NTLM challenge cannot be answered: %w", core.ErrProtocol, err)
	}
	e.answered = true
	return authenticate, nil
}

func (e *exchange) Done(context.Context) error {
	if !e.answered {
		return errors.New("the server sent no challenge")
	}
	return nil
}

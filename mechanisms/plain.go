package mechanisms

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
)

// Plain returns PLAIN (RFC 4616): user and password, in clear text within
// whatever protects the connection. Both are UTF-8 and may hold anything but
// NUL. Without TLS a session refuses to use it, unless the server is on this
// machine.
func Plain(user, password string) core.Mechanism { return PlainAs("", user, password) }

// PlainAs is Plain with an authorization identity: the user to act as, if that
// is not the one whose password it is.
func PlainAs(identity, user, password string) core.Mechanism {
	return &plain{func() (string, string, string) { return identity, user, password }}
}

// plain keeps its credentials in a function: String is not called on a
// mechanism in an unexported field of whatever is printed, and fmt would show
// its fields then, but it never shows what a function holds.
type plain struct {
	credentials func() (identity, user, password string)
}

func (*plain) Name() string { return "PLAIN" }

// String keeps the password out of whatever prints the mechanism.
func (*plain) String() string { return "PLAIN" }

// GoString is String, for %#v.
func (*plain) GoString() string { return "PLAIN" }

// Check implements [core.Checker].
func (p *plain) Check() error {
	identity, user, password := p.credentials()
	for _, f := range []struct{ what, value string }{{"identity", identity}, {"user name", user}, {"password", password}} {
		if strings.ContainsRune(f.value, 0) || !utf8.ValidString(f.value) {
			return fmt.Errorf("the %s holds NUL or is not UTF-8, and PLAIN can carry neither", f.what)
		}
		if f.value == "" && f.what != "identity" {
			return fmt.Errorf("the %s is empty, which PLAIN does not allow (RFC 4616 §2)", f.what)
		}
	}
	return nil
}

func (p *plain) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	if err := p.Check(); err != nil {
		return nil, nil, err
	}
	identity, user, password := p.credentials()
	// RFC 4616 §2: message = [authzid] UTF8NUL authcid UTF8NUL passwd
	return oneMessage{}, []byte(identity + "\x00" + user + "\x00" + password), nil
}

// oneMessage is an authentication that has said all with its initial response.
type oneMessage struct{}

func (oneMessage) Next(context.Context, []byte) ([]byte, error) {
	return nil, violation("unexpected challenge")
}

func (oneMessage) Done(context.Context) error { return nil }

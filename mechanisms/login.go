package mechanisms

import (
	"context"
	"errors"
	"strings"

	"github.com/postrider/postrider/core"
)

// Login returns LOGIN (draft-murchison-sasl-login): the user name and then the
// password, for servers that offer nothing better. The user name goes as the
// initial response. A server's prompts may say anything: they are answered by
// their order.
func Login(user, password string) core.Mechanism {
	return &login{func() (string, string) { return user, password }}
}

type login struct {
	credentials func() (user, password string)
}

func (*login) Name() string { return "LOGIN" }

// String keeps the password out of whatever prints the mechanism.
func (*login) String() string { return "LOGIN" }

// GoString is String, for %#v.
func (*login) GoString() string { return "LOGIN" }

// Check implements [core.Checker].
func (l *login) Check() error {
	user, password := l.credentials()
	if user == "" || password == "" {
		return errors.New("the user name or the password is empty")
	}
	return nil
}

func (l *login) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	if err := l.Check(); err != nil {
		return nil, nil, err
	}
	user, password := l.credentials()
	return &loginRun{credentials: func() (string, string) { return user, password }}, []byte(user), nil
}

// loginRun answers by the prompt: a server may ask for the user in spite of the
// initial response, and a password is no answer to that.
type loginRun struct {
	credentials func() (user, password string) // a function for the reason that plain has
	user        bool                           // was sent again
	password    bool                           // was sent
}

func (r *loginRun) Next(_ context.Context, challenge []byte) ([]byte, error) {
	user, password := r.credentials()
	switch asksUser := strings.HasPrefix(strings.ToLower(string(challenge)), "user"); {
	case r.password, r.user && asksUser:
		return nil, violation("unexpected challenge")
	case asksUser:
		r.user = true
		return []byte(user), nil
	}
	r.password = true
	return []byte(password), nil
}

func (*loginRun) Done(context.Context) error { return nil }

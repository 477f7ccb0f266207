package mechanisms

import (
	"context"
	"errors"

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
	return &answers{func() []string { return []string{password} }, 0}, []byte(user), nil
}

// answers is an authentication with an answer for each challenge.
type answers struct {
	list func() []string // a function for the reason that plain has
	next int
}

func (a *answers) Next(context.Context, []byte) ([]byte, error) {
	list := a.list()
	if a.next == len(list) {
		return nil, violation("unexpected challenge")
	}
	a.next++
	return []byte(list[a.next-1]), nil
}

func (*answers) Done(context.Context) error { return nil }

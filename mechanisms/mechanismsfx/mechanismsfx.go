// Package mechanismsfx adds the standard mechanisms to a client that
// [corefx.Module] assembles, with the [Credentials] that the application
// provides.
//
//	fx.New(
//		corefx.Module, transportfx.Module, mechanismsfx.Module,
//		fx.Provide(NewConfig, NewCredentials),
//		fx.Invoke(RunMailer),
//	).Run()
//
// Without credentials it adds nothing, so that an application can have the
// module and decide elsewhere whether it authenticates at all.
package mechanismsfx

import (
	"errors"
	"fmt"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms"
)

// Module adds the mechanisms of mechanisms.Password, if the application provides
// [Credentials].
var Module = fx.Module("postrider.mechanisms", corefx.AsMechanism(New))

// Credentials are a user name and a password. Printing them shows the user name
// alone. The zero value stands for none.
type Credentials struct {
	User, Password string
}

// String returns the user name.
func (c Credentials) String() string {
	switch {
	case c == Credentials{}:
		return "no credentials"
	case c.Password == "":
		return fmt.Sprintf("%q without a password", c.User)
	}
	return fmt.Sprintf("%q and a password", c.User)
}

// Format writes [Credentials.String], whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// MarshalText is [Credentials.String], so that encoders, loggers among them, do
// not show the password either.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Params are the parameters of [New].
type Params struct {
	fx.In

	// Credentials are what to authenticate with. An application need not
	// provide them. To fx, a constructor of them whose own parameters are
	// missing is as good as none.
	Credentials Credentials `optional:"true"`
}

// New returns the mechanisms for the credentials: none for the zero value.
func New(p Params) ([]core.Mechanism, error) {
	switch {
	case p.Credentials == Credentials{}:
		return nil, nil
	case p.Credentials.User == "":
		return nil, errors.New("mechanismsfx.Credentials has a password and no user: set User")
	case p.Credentials.Password == "":
		return nil, errors.New("mechanismsfx.Credentials has a user and no password: set Password, or leave both empty to send without authentication")
	}
	return mechanisms.Password(p.Credentials.User, p.Credentials.Password), nil
}

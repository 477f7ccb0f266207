// Package mechanismsfx adds mechanisms to a client that [corefx.Module]
// assembles, with the credentials that the application provides: a user name and
// a password as [Credentials], a mechanisms.Source that knows them, or [Tokens].
//
//	fx.New(
//		corefx.Module, transportfx.Module, mechanismsfx.Module,
//		fx.Provide(NewConfig, NewCredentials),
//		fx.Invoke(RunMailer),
//	).Run()
//
// Without any it adds nothing, so that an application can have the module and
// decide elsewhere whether it authenticates at all.
package mechanismsfx

import (
	"errors"
	"fmt"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms"
)

// Module adds all the mechanisms that can use what the application provides:
// those of mechanisms.Password, or mechanisms.PasswordFrom, and those of
// mechanisms.OAuth.
var Module = fx.Module("postrider.mechanisms", corefx.AsMechanism(New))

// Only adds one mechanism that uses a user name and a password, in place of
// [Module]:
//
//	mechanismsfx.Only(mechanisms.SCRAMSHA256)
//
// Several may be added. The application provides Credentials or a
// mechanisms.Source; without either it is an error.
func Only(mechanism func(user, password string) core.Mechanism) fx.Option {
	return fx.Module("postrider.mechanism", corefx.AsMechanism(func(p Params) (core.Mechanism, error) {
		source, err := p.source()
		switch {
		case err != nil:
			return nil, err
		case source == nil:
			return nil, errors.New("mechanismsfx.Only has a mechanism and no credentials: provide mechanismsfx.Credentials or a mechanisms.Source")
		}
		return mechanisms.From(source, mechanism), nil
	}))
}

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

// Tokens are access tokens of OAuth 2.0, and the user that they are for. The zero
// value stands for none.
type Tokens struct {
	User   string // may be empty if the token says it all
	Source mechanisms.TokenSource
}

// Params are the parameters of [New].
type Params struct {
	fx.In

	// What to authenticate with. An application need not provide it. To fx, a
	// constructor whose own parameters are missing is as good as none.
	Credentials Credentials       `optional:"true"`
	Source      mechanisms.Source `optional:"true"` // in place of Credentials
	Tokens      Tokens            `optional:"true"`
}

// New returns the mechanisms for what there is: none for nothing.
func New(p Params) ([]core.Mechanism, error) {
	source, err := p.source()
	if err != nil {
		return nil, err
	}
	var list []core.Mechanism
	switch {
	case p.Source != nil:
		list = mechanisms.PasswordFrom(source)
	case source != nil:
		list = mechanisms.Password(p.Credentials.User, p.Credentials.Password)
	}
	switch {
	case p.Tokens.Source != nil:
		list = append(list, mechanisms.OAuth(p.Tokens.User, p.Tokens.Source)...)
	case p.Tokens.User != "":
		return nil, errors.New("mechanismsfx.Tokens has a user and no source: set Source")
	}
	return list, nil
}

// source returns where user name and password come from, or nil.
func (p *Params) source() (mechanisms.Source, error) {
	switch given := p.Credentials != (Credentials{}); {
	case given && p.Source != nil:
		return nil, errors.New("there are mechanismsfx.Credentials and a mechanisms.Source: provide one of them")
	case !given:
		return p.Source, nil
	case p.Credentials.User == "":
		return nil, errors.New("mechanismsfx.Credentials has a password and no user: set User")
	case p.Credentials.Password == "":
		return nil, errors.New("mechanismsfx.Credentials has a user and no password: set Password, or leave both empty to send without authentication")
	}
	return mechanisms.Static(p.Credentials.User, p.Credentials.Password), nil
}

package mechanisms

import (
	"context"
	"fmt"
	"os"
)

// Environment names the variables of the environment that hold credentials. Its
// method Credentials is a [Source]:
//
//	mechanisms.From(mechanisms.Environment{User: "SMTP_USER", Password: "SMTP_PASSWORD"}.Credentials, mechanisms.Plain)
//
// The environment can be seen by other processes of the same user, and is
// inherited by those that this one starts: a [File] keeps a password better.
type Environment struct {
	// User is the name of the variable with the user name.
	User string
	// Password is the name of the variable with the password.
	Password string
}

// Check returns what is missing in e itself. The variables are not looked at. A
// function tells nothing of where it is from, so what [From] makes does not
// check this when a client is made: call it before.
func (e Environment) Check() error {
	switch {
	case e.User == "":
		return localError("mechanisms.Environment.User is empty", "name the variable that has the user name")
	case e.Password == "":
		return localError("mechanisms.Environment.Password is empty", "name the variable that has the password")
	}
	return nil
}

// Credentials returns what the two variables hold now. A variable that is not
// set, or is empty, is a local error that names it.
func (e Environment) Credentials(context.Context) (user, password string, err error) {
	if err := e.Check(); err != nil {
		return "", "", err
	}
	for _, v := range []struct {
		name  string
		value *string
	}{{e.User, &user}, {e.Password, &password}} {
		if *v.value = os.Getenv(v.name); *v.value == "" {
			return "", "", localError(fmt.Sprintf("the environment variable %q is not set, or is empty", v.name), "set it in the environment of this process")
		}
	}
	return user, password, nil
}

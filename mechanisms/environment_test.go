package mechanisms_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

func TestEnvironment(t *testing.T) {
	for _, tt := range []struct {
		rule           string
		environment    mechanisms.Environment
		user, password string // what the variables hold
		err            string
	}{
		{"both are returned as they are", mechanisms.Environment{User: "POSTRIDER_USER", Password: "POSTRIDER_PASSWORD"}, "ann", " open-sesame ", ""},
		{"a user that is missing is named", mechanisms.Environment{User: "POSTRIDER_USER", Password: "POSTRIDER_PASSWORD"}, "", "open-sesame", `"POSTRIDER_USER" is not set`},
		{"a password that is missing is named", mechanisms.Environment{User: "POSTRIDER_USER", Password: "POSTRIDER_PASSWORD"}, "ann", "", `"POSTRIDER_PASSWORD" is not set`},
		{"the name of the user's variable is needed", mechanisms.Environment{Password: "POSTRIDER_PASSWORD"}, "ann", "open-sesame", "Environment.User is empty"},
		{"the name of the password's is, too", mechanisms.Environment{User: "POSTRIDER_USER"}, "ann", "open-sesame", "Environment.Password is empty"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Setenv("POSTRIDER_USER", tt.user)
			t.Setenv("POSTRIDER_PASSWORD", tt.password)
			user, password, err := tt.environment.Credentials(t.Context())
			if tt.err == "" {
				if err != nil || user != tt.user || password != tt.password {
					t.Error(user, len(password), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) || core.ClassOf(err) != core.Local {
				t.Errorf("%v (%v), want %q", err, core.ClassOf(err), tt.err)
			}
			if user != "" || password != "" {
				t.Error("something was returned with the error")
			}
			showsNoSecret(t, err, tt.environment)
		})
	}
	t.Run("the variables are read at each call", func(t *testing.T) {
		e := mechanisms.Environment{User: "POSTRIDER_USER", Password: "POSTRIDER_PASSWORD"}
		for _, want := range []string{"old", "new"} {
			t.Setenv("POSTRIDER_USER", "ann")
			t.Setenv("POSTRIDER_PASSWORD", want)
			if _, password, err := e.Credentials(t.Context()); err != nil || password != want {
				t.Error(password, err)
			}
		}
	})
	t.Run("they may be set later than the client is made", func(t *testing.T) {
		e := mechanisms.Environment{User: "POSTRIDER_USER_THAT_IS_NOT_SET", Password: "POSTRIDER_PASSWORD"}
		if err := e.Check(); err != nil {
			t.Error(err)
		}
		if err := mechanisms.From(e.Credentials, mechanisms.Plain).(core.Checker).Check(); err != nil {
			t.Error(err)
		}
	})
}

package mechanisms_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

func names(list []core.Mechanism) (names []string) {
	for _, m := range list {
		names = append(names, m.Name())
	}
	return names
}

func TestPassword_theStrongestFirst(t *testing.T) {
	const all = "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"
	for rule, tt := range map[string]struct {
		list []core.Mechanism
		want string
	}{
		"a password":                           {mechanisms.Password("user", "hunter2"), all},
		"a source":                             {mechanisms.PasswordFrom(mechanisms.Static("user", "hunter2")), all},
		"a password that SCRAM cannot carry":   {mechanisms.Password("user", "hunter2 \U0001f600"), "CRAM-MD5 PLAIN LOGIN"},
		"a token":                              {mechanisms.OAuth("user", mechanisms.StaticToken("t")), "OAUTHBEARER XOAUTH2"},
		"a token that says who the user is":    {mechanisms.OAuth("", mechanisms.StaticToken("t")), "OAUTHBEARER"},
		"no password, which is an error later": {mechanisms.Password("user", ""), "CRAM-MD5 PLAIN LOGIN"},
	} {
		got := names(tt.list)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %s", rule, got)
		}
		if !slices.IsSortedFunc(got, core.CompareStrength) {
			t.Errorf("%s: %s is not the order of strength", rule, got)
		}
	}
}

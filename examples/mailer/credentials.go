package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// What a mechanism needs.
const (
	needsPassword = iota + 1
	needsToken
	needsNothing
)

// builtin is a mechanism that is no plugin's.
type builtin struct {
	needs int
	make  func(user, secret string) core.Mechanism
}

// known is the mechanisms by name. The user of those that need nothing is whom
// to act as (EXTERNAL), or what is left as a trace (ANONYMOUS).
var known = map[string]builtin{
	"SCRAM-SHA-512-PLUS": {needsPassword, mechanisms.SCRAMSHA512Plus},
	"SCRAM-SHA-256-PLUS": {needsPassword, mechanisms.SCRAMSHA256Plus},
	"SCRAM-SHA-1-PLUS":   {needsPassword, mechanisms.SCRAMSHA1Plus},
	"SCRAM-SHA-512":      {needsPassword, mechanisms.SCRAMSHA512},
	"SCRAM-SHA-256":      {needsPassword, mechanisms.SCRAMSHA256},
	"SCRAM-SHA-1":        {needsPassword, mechanisms.SCRAMSHA1},
	"DIGEST-MD5":         {needsPassword, mechanisms.DigestMD5},
	"CRAM-MD5":           {needsPassword, mechanisms.CRAMMD5},
	"PLAIN":              {needsPassword, mechanisms.Plain},
	"LOGIN":              {needsPassword, mechanisms.Login},
	"OAUTHBEARER": {needsToken, func(user, token string) core.Mechanism {
		return mechanisms.OAuthBearer(user, mechanisms.StaticToken(token))
	}},
	"XOAUTH2": {needsToken, func(user, token string) core.Mechanism {
		return mechanisms.XOAuth2(user, mechanisms.StaticToken(token))
	}},
	"EXTERNAL":  {needsNothing, func(user, _ string) core.Mechanism { return mechanisms.External(user) }},
	"ANONYMOUS": {needsNothing, func(user, _ string) core.Mechanism { return mechanisms.Anonymous(user) }},
}

// exists reports whether a mechanism is one of them.
func (b builtin) exists() bool { return b.needs != 0 }

// mechanismName reads the setting "mech". What is not built in a plugin may have.
func mechanismName(target *string) func(string) error {
	return func(text string) error {
		*target = strings.ToUpper(text)
		return nil
	}
}

// noMechanism is the error of a name that no mechanism has.
func noMechanism(name string) error {
	names := slices.SortedStableFunc(maps.Keys(known), core.CompareStrength)
	return fmt.Errorf("there is no mechanism %q: use one of %s, or one of a plugin", name, strings.Join(names, ", "))
}

// checkCredentials says which of the settings for authentication do not go
// together.
func (s *settings) checkCredentials() error {
	needs := known[s.mech].needs
	wrong := func(format string, args ...any) error {
		return s.blame(fmt.Errorf(format, args...), "user", "password-file", "token-file", "mech", "cert", "key")
	}
	switch {
	case s.key != "" && s.cert == "":
		return wrong("there is -key without -cert: give both")
	case s.passwordFile != "" && s.tokenFile != "":
		return wrong("there are both -password-file and -token-file: give one of them")
	case needs == needsNothing && (s.passwordFile != "" || s.tokenFile != ""):
		return wrong("%s takes no secret: leave out -password-file and -token-file", s.mech)
	case needs == needsNothing:
		return nil
	case s.mech != "" && s.passwordFile == "" && s.tokenFile == "" && len(s.plugins) > 0:
		return nil // a plugin may have it, which is seen when it was started
	case needs == needsPassword && s.passwordFile == "":
		return wrong("%s needs a password: give -user and -password-file", s.mech)
	case needs == needsToken && s.tokenFile == "":
		return wrong("%s needs an access token: give -token-file", s.mech)
	case needs == needsToken && s.mech == "XOAUTH2" && s.user == "":
		return wrong("XOAUTH2 needs the mailbox to act for: give -user")
	case s.has("user") && s.passwordFile == "" && s.tokenFile == "":
		return wrong("there is -user without a password: give -password-file FILE, -token-file FILE or -mech EXTERNAL")
	case s.passwordFile != "" && s.user == "":
		return wrong("there is -password-file without a user: give -user NAME")
	}
	return nil
}

// authentication returns the mechanisms that the settings ask for, which were
// checked, the strongest first, and what keeps their secret out of everything that is printed.
func (s *settings) authentication(ctx context.Context) ([]core.Mechanism, redactor, error) {
	secret, err := s.secret(ctx)
	if err != nil {
		return nil, redactor{}, &ended{misconfigured, said(err)}
	}
	var list []core.Mechanism
	switch {
	case s.mech != "" && !s.ofPlugin():
		list = []core.Mechanism{known[s.mech].make(s.user, secret)}
	case s.mech != "":
	case s.passwordFile != "":
		list = mechanisms.Password(s.user, secret)
	case s.tokenFile != "":
		list = mechanisms.OAuth(s.user, mechanisms.StaticToken(secret))
	}
	return list, newRedactor(s.user, secret), nil
}

// ofPlugin reports whether the mechanism that was asked for by its name is to be
// a plugin's: it is not built in, or what it needs was not given.
func (s *settings) ofPlugin() bool {
	switch known[s.mech].needs {
	case needsNothing:
		return false
	case needsPassword:
		return s.passwordFile == ""
	case needsToken:
		return s.tokenFile == ""
	}
	return true
}

// withPlugins adds the mechanisms of plugins to those that credentials are given
// for, or returns the one that was asked for by its name. Where both have one of a
// name it is the plugin's, which was declared for that.
func (s *settings) withPlugins(list []core.Mechanism, set *pluginSet) ([]core.Mechanism, error) {
	wrong := func(err error) error { return s.blame(err, "mech", "user", "password-file", "token-file") }
	switch {
	case len(s.plugins) == 0:
		return list, nil
	case s.mech == "":
		own, err := set.mechanisms()
		if err != nil {
			return nil, s.blame(err, "plugins")
		}
		replaced := func(m core.Mechanism) bool {
			return slices.ContainsFunc(own, func(o core.Mechanism) bool { return o.Name() == m.Name() })
		}
		list = append(own, slices.DeleteFunc(list, replaced)...)
		slices.SortStableFunc(list, func(a, b core.Mechanism) int { return core.CompareStrength(a.Name(), b.Name()) })
		return list, nil
	case !s.ofPlugin():
		return list, nil
	case s.user != "" || s.passwordFile != "" || s.tokenFile != "":
		return nil, wrong(fmt.Errorf("%s is no mechanism that takes -user, -password-file or -token-file: a plugin has its own credentials", s.mech))
	}
	m, err := set.mechanism(s.mech)
	if err != nil {
		return nil, wrong(err)
	}
	return []core.Mechanism{m}, nil
}

// secret reads the password or the token, once: a file that can be read by all is
// taken, for a password in it is no safer for not being used.
func (s *settings) secret(ctx context.Context) (string, error) {
	switch {
	case s.passwordFile != "":
		_, password, err := mechanisms.File{User: s.user, Path: s.passwordFile, AllowWorldReadable: true}.Credentials(ctx)
		return password, err
	case s.tokenFile != "":
		token, err := mechanisms.File{Path: s.tokenFile, AllowWorldReadable: true}.Token(ctx, "")
		if err != nil {
			return "", err
		}
		return token.AccessToken, nil
	}
	return "", nil
}

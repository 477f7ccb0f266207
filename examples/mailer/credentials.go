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

// known is the mechanisms by name. The user of those that need nothing is whom
// to act as (EXTERNAL), or what is left as a trace (ANONYMOUS).
var known = map[string]struct {
	needs int
	make  func(user, secret string) core.Mechanism
}{
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

// mechanismName reads the setting "mech".
func mechanismName(target *string) func(string) error {
	return func(text string) error {
		name := strings.ToUpper(text)
		if _, ok := known[name]; !ok {
			names := slices.SortedStableFunc(maps.Keys(known), core.CompareStrength)
			return fmt.Errorf("there is no such mechanism: use one of %s", strings.Join(names, ", "))
		}
		*target = name
		return nil
	}
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
	case s.mech != "":
		list = []core.Mechanism{known[s.mech].make(s.user, secret)}
	case s.passwordFile != "":
		list = mechanisms.Password(s.user, secret)
	case s.tokenFile != "":
		list = mechanisms.OAuth(s.user, mechanisms.StaticToken(secret))
	}
	return list, newRedactor(s.user, secret), nil
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

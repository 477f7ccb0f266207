package core_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/mechanisms"
)

// passwordMechanisms are those that the real Postfix offers and that use a
// password.
var passwordMechanisms = map[string]struct {
	with  func(user, password string) core.Mechanism
	clear bool // keeps the password where others listen
}{
	"PLAIN":         {mechanisms.Plain, false},
	"LOGIN":         {mechanisms.Login, false},
	"CRAM-MD5":      {mechanisms.CRAMMD5, true},
	"DIGEST-MD5":    {mechanisms.DigestMD5, true},
	"SCRAM-SHA-1":   {mechanisms.SCRAMSHA1, true},
	"SCRAM-SHA-256": {mechanisms.SCRAMSHA256, true},
}

// tokenMechanisms are those that use a token, and the status in the report of a
// failure that Dovecot sends before the refusal.
var tokenMechanisms = map[string]struct {
	with   func(user string, tokens mechanisms.TokenSource) core.Mechanism
	status string
}{
	"XOAUTH2":     {mechanisms.XOAuth2, "401"},
	"OAUTHBEARER": {mechanisms.OAuthBearer, "invalid_token"},
}

// authenticates sends a message for another domain, which the servers take only
// from who has authenticated.
func authenticates(t *testing.T, c *core.Client, mechanism string) {
	t.Helper()
	receipt, err := sendElsewhere(t, c)
	if err != nil {
		t.Fatal(outcomes(receipt), err)
	}
	if receipt.Peer.Mechanism != mechanism {
		t.Errorf("authenticated by %q", receipt.Peer.Mechanism)
	}
}

func sendElsewhere(t *testing.T, c *core.Client) (*core.Receipt, error) {
	t.Helper()
	return c.Send(t.Context(), &core.Message{From: "a@example.test", To: core.Recipients("you@example.net"), Body: core.String("Subject: x\r\n\r\nhi\r\n")})
}

func TestPostfix_takesMailForElsewhereOnlyAfterAUTH(t *testing.T) {
	p := realserver.StartPostfix(t)
	receipt, err := sendElsewhere(t, toPostfix(t, p, "smtp://"+p.Addr, func(c *core.Config) { c.Auth = nil }))
	if got := outcomes(receipt); got != "refused 554 5.7.1" {
		t.Error(got, err)
	}
}

func TestPostfix_passwords(t *testing.T) {
	p := realserver.StartPostfix(t)
	var used []string
	for name, m := range passwordMechanisms {
		endpoints := map[string]string{"STARTTLS": "smtp://" + p.Addr, "TLS": "smtps://" + p.TLSAddr}
		if m.clear {
			endpoints["clear text"] = "smtp://" + p.PlainAddr
		}
		for under, endpoint := range endpoints {
			for user, password := range map[string]string{p.ASCIIUser: p.ASCIIPassword, p.User: p.Password, p.UnicodeUser: p.UnicodePassword} {
				t.Run(fmt.Sprintf("%s authenticates %s under %s", name, user, under), func(t *testing.T) {
					authenticates(t, toPostfix(t, p, endpoint, func(c *core.Config) { c.Auth = []core.Mechanism{m.with(user, password)} }), name)
				})
				used = append(used, fmt.Sprintf("sasl_method=%s, sasl_username=%s\n", name, user))
			}
		}
	}
	p.Settle(t)
	log := p.Log()
	for _, line := range used {
		if !strings.Contains(log, line) {
			t.Errorf("the server does not know of %q", line)
		}
	}
}

func TestPostfix_wrongPasswords(t *testing.T) {
	p := realserver.StartPostfix(t)
	for name, m := range passwordMechanisms {
		for user, password := range map[string]string{p.ASCIIUser: p.UnicodePassword, p.UnicodeUser: p.ASCIIPassword, "nobody": p.ASCIIPassword} {
			t.Run(fmt.Sprintf("%s is refused 535 with a wrong password for %s", name, user), func(t *testing.T) {
				t.Parallel() // the server takes half a second over it
				c := toPostfix(t, p, "smtp://"+p.Addr, func(c *core.Config) { c.Auth = []core.Mechanism{m.with(user, password)} })
				receipt, err := sendElsewhere(t, c)
				if got := outcomes(receipt); got != "refused 535 5.7.8" || !errors.Is(err, core.ErrCredentials) {
					t.Error(got, err)
				}
				hasError(t, err, core.StageAuth, core.Permanent, core.ErrAuthentication)
			})
		}
	}
}

// accessToken is a token of the server's that is good for so long.
func accessToken(t *testing.T, p *realserver.Postfix, user string, lifetime time.Duration) string {
	t.Helper()
	token, err := p.Token(user, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestPostfix_tokens(t *testing.T) {
	p := realserver.StartPostfix(t)
	for name, m := range tokenMechanisms {
		for under, endpoint := range map[string]string{"STARTTLS": "smtp://" + p.Addr, "TLS": "smtps://" + p.TLSAddr} {
			for _, user := range []string{p.User, p.UnicodeUser} {
				t.Run(fmt.Sprintf("%s authenticates %s under %s", name, user, under), func(t *testing.T) {
					source := mechanisms.StaticToken(accessToken(t, p, user, time.Hour))
					authenticates(t, toPostfix(t, p, endpoint, func(c *core.Config) { c.Auth = []core.Mechanism{m.with(user, source)} }), name)
				})
			}
		}
	}
}

func TestPostfix_refusedTokens(t *testing.T) {
	p := realserver.StartPostfix(t)
	for name, m := range tokenMechanisms {
		for what, token := range map[string]string{
			"that has expired": accessToken(t, p, p.User, -time.Hour),
			"of another user":  accessToken(t, p, p.UnicodeUser, time.Hour),
			"that is none":     "open-sesame",
		} {
			t.Run(fmt.Sprintf("%s with a token %s is refused with what the server reports", name, what), func(t *testing.T) {
				t.Parallel() // the server takes half a second over it
				c := toPostfix(t, p, "smtp://"+p.Addr, func(c *core.Config) { c.Auth = []core.Mechanism{m.with(p.User, mechanisms.StaticToken(token))} })
				receipt, err := sendElsewhere(t, c)
				if got := outcomes(receipt); got != "refused 535 5.7.8" || !errors.Is(err, core.ErrCredentials) {
					t.Error(got, err)
				}
				hasError(t, err, core.StageAuth, core.Permanent, core.ErrAuthentication)
				if report, ok := errors.AsType[*mechanisms.TokenError](err); !ok || report.Status != m.status {
					t.Errorf("the error does not tell of the status %q: %v", m.status, err)
				}
				if strings.Contains(fmt.Sprintf("%v %+v", err, receipt), token) {
					t.Error("the token was printed")
				}
			})
		}
	}
}

func TestPostfix_refusedTokenIsReplaced(t *testing.T) {
	p := realserver.StartPostfix(t)
	for name, m := range tokenMechanisms {
		t.Run(name+" is run again on the session with another token", func(t *testing.T) {
			t.Parallel()
			expired, fresh := accessToken(t, p, p.User, -time.Hour), accessToken(t, p, p.User, time.Hour)
			asked := make(chan string, 10)
			source := func(_ context.Context, refused string) (*oauth2.Token, error) {
				asked <- refused
				if refused == expired {
					return &oauth2.Token{AccessToken: fresh}, nil
				}
				return &oauth2.Token{AccessToken: expired}, nil
			}
			authenticates(t, toPostfix(t, p, "smtp://"+p.Addr, func(c *core.Config) { c.Auth = []core.Mechanism{m.with(p.User, source)} }), name)
			close(asked)
			var refusals []string
			for refused := range asked {
				refusals = append(refusals, refused)
			}
			if len(refusals) != 2 || refusals[0] != "" || refusals[1] != expired {
				t.Errorf("the source was asked for a token in place of %q", refusals)
			}
		})
	}
}

func TestPostfix_asksForWhatWasNotSentWithAUTH(t *testing.T) {
	p := realserver.StartPostfix(t)
	source := mechanisms.StaticToken(accessToken(t, p, p.User, time.Hour))
	for _, m := range []core.Mechanism{
		mechanisms.Plain(p.User, p.Password), mechanisms.SCRAMSHA256(p.User, p.Password),
		mechanisms.XOAuth2(p.User, source), mechanisms.OAuthBearer(p.User, source),
	} {
		t.Run(m.Name()+" waits for an empty challenge (RFC 4954 §4)", func(t *testing.T) {
			withheld := mechanisms.WithoutInitialResponse(m)
			authenticates(t, toPostfix(t, p, "smtp://"+p.Addr, func(c *core.Config) { c.Auth = []core.Mechanism{withheld} }), m.Name())
		})
	}
}

func TestExim_clientCertificate(t *testing.T) {
	e := realserver.StartExim(t)
	// with returns a client that shows a certificate even to a server that does
	// not know its authority: Go would keep that one back.
	with := func(t *testing.T, endpoint string, certificate tls.Certificate, identity string) *core.Client {
		return reaches(t, endpoint, func(c *core.Config) {
			c.TLS = &tls.Config{
				RootCAs:              e.RootCAs,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil },
			}
			c.Auth = []core.Mechanism{mechanisms.External(identity)}
		})
	}
	for under, endpoint := range map[string]string{"STARTTLS": "smtp://" + e.Addr, "TLS": "smtps://" + e.TLSAddr} {
		for what, identity := range map[string]string{"its user": e.User, "nobody": ""} {
			t.Run("EXTERNAL for "+what+" authenticates who has the certificate, under "+under, func(t *testing.T) {
				authenticates(t, with(t, endpoint, e.ClientCertificate, identity), "EXTERNAL")
			})
		}
		t.Run("EXTERNAL for another user than the certificate's is refused, under "+under, func(t *testing.T) {
			receipt, err := sendElsewhere(t, with(t, endpoint, e.ClientCertificate, "other@example.test"))
			if got := outcomes(receipt); codes(got) != "refused 535" || !errors.Is(err, core.ErrCredentials) {
				t.Error(got, err)
			}
		})
		for what, certificate := range map[string]tls.Certificate{"of an unknown authority": e.UnknownCertificate, "that is missing": {}} {
			t.Run("EXTERNAL is not offered for a certificate "+what+", under "+under, func(t *testing.T) {
				_, err := sendElsewhere(t, with(t, endpoint, certificate, ""))
				hasError(t, err, core.StageAuth, core.Permanent, core.ErrNotSupported)
			})
		}
	}
	if log := e.Log(); !strings.Contains(log, "A=certificate:"+e.User) {
		t.Error("the server does not know who has sent what it took:", log)
	}
}

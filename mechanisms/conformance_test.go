package mechanisms_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"net/smtp"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/mechanisms/mechanismtest"
)

const (
	annsPassword = "correct horse battery staple"
	annsToken    = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
)

// Every mechanism of this package keeps the rules.
func TestConformance(t *testing.T) {
	users := smtptest.ServerOptions{Users: map[string]string{"ann": annsPassword}}
	login := saying("LOGIN", "ann", annsPassword)
	for _, tt := range []struct {
		name    string
		with    func(user, password string) core.Mechanism // or New is set
		config  mechanismtest.Config
		vectors []mechanismtest.Vector
	}{
		{"PLAIN", mechanisms.Plain, mechanismtest.Config{Server: users}, []mechanismtest.Vector{
			{Name: "RFC 4616 §4", New: always(mechanisms.PlainAs("Ursel", "Kurt", "xipj3plmq")), Initial: []byte("Ursel\x00Kurt\x00xipj3plmq")},
		}},
		{"LOGIN", mechanisms.Login, mechanismtest.Config{Server: login}, nil},
		{"CRAM-MD5", mechanisms.CRAMMD5, mechanismtest.Config{Server: other("CRAM-MD5", cramServer)}, []mechanismtest.Vector{
			{Name: "RFC 2195 §2", New: always(mechanisms.CRAMMD5("tim", "tanstaaftanstaaf")), Rounds: []mechanismtest.Round{
				{Challenge: []byte(cramChallenge), Response: []byte("tim b913a602c7eda7a495b4e6e7334d3890")},
			}},
		}},
		{"DIGEST-MD5", mechanisms.DigestMD5, mechanismtest.Config{Server: other("DIGEST-MD5", digestServer), ProvesServer: true}, nil},
		{"SCRAM-SHA-1", mechanisms.SCRAMSHA1, scram("SCRAM-SHA-1"), []mechanismtest.Vector{
			scramVector("RFC 5802 §5", mechanisms.SCRAMSHA1, "fyko+d2lbbFgONRv9qkxdawL",
				"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
				"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
				"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
				"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
		}},
		{"SCRAM-SHA-256", mechanisms.SCRAMSHA256, scram("SCRAM-SHA-256"), []mechanismtest.Vector{
			scramVector("RFC 7677 §3", mechanisms.SCRAMSHA256, "rOprNGfwEbeRWgbNEkqO",
				"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
				"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
				"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
				"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
		}},
		{"SCRAM-SHA-512", mechanisms.SCRAMSHA512, scram("SCRAM-SHA-512"), nil},
		{"SCRAM-SHA-1-PLUS", mechanisms.SCRAMSHA1Plus, scram("SCRAM-SHA-1-PLUS"), nil},
		{"SCRAM-SHA-256-PLUS", mechanisms.SCRAMSHA256Plus, scram("SCRAM-SHA-256-PLUS"), nil},
		{"SCRAM-SHA-512-PLUS", mechanisms.SCRAMSHA512Plus, scram("SCRAM-SHA-512-PLUS"), nil},
		{"EXTERNAL", nil, mechanismtest.Config{New: always(mechanisms.External("")), Server: saying("EXTERNAL", ""), Secrets: []string{}}, []mechanismtest.Vector{
			{Name: "RFC 4422 §A.1, without an identity", Initial: []byte{}},
			{Name: "RFC 4422 §A.2", New: always(mechanisms.External("fred@example.com")), Initial: []byte("fred@example.com")},
		}},
		{"ANONYMOUS", nil, mechanismtest.Config{New: always(mechanisms.Anonymous("sirhc")), Server: saying("ANONYMOUS", "sirhc"), Secrets: []string{}}, []mechanismtest.Vector{
			{Name: "RFC 4505 §4", Initial: []byte("sirhc")},
		}},
		{"OAUTHBEARER", nil, showingToken("OAUTHBEARER", mechanisms.OAuthBearer), []mechanismtest.Vector{
			{Name: "RFC 7628 §3.1", Initial: []byte("n,a=ann,\x01host=server.example\x01port=25\x01auth=Bearer " + annsToken + "\x01\x01")},
		}},
		{"XOAUTH2", nil, showingToken("XOAUTH2", mechanisms.XOAuth2), []mechanismtest.Vector{
			{Name: "Google's", Initial: []byte("user=ann\x01auth=Bearer " + annsToken + "\x01\x01")},
		}},

		{"WithoutInitialResponse", func(user, password string) core.Mechanism {
			return mechanisms.WithoutInitialResponse(mechanisms.Login(user, password))
		}, mechanismtest.Config{Server: saying("LOGIN", "", "ann", annsPassword)}, nil},
		{"From", func(user, password string) core.Mechanism {
			return mechanisms.From(mechanisms.Static(user, password), mechanisms.Plain)
		}, mechanismtest.Config{Server: users, Blocked: always(mechanisms.From(silentSource, mechanisms.Plain))}, nil},
		{"Func", func(user, password string) core.Mechanism {
			return mechanisms.Func("LOGIN", func(_ context.Context, challenge []byte) ([]byte, error) {
				if challenge == nil {
					return []byte(user), nil
				}
				return []byte(password), nil
			})
		}, mechanismtest.Config{Server: login}, nil},
		{"FromSASL", func(user, password string) core.Mechanism {
			return mechanisms.FromSASL("PLAIN", client(func() sasl.Client { return sasl.NewPlainClient("", user, password) }))
		}, mechanismtest.Config{Server: users}, nil},
		{"FromNetSMTP and KeepingSecret", func(user, password string) core.Mechanism {
			return mechanisms.KeepingSecret(mechanisms.FromNetSMTP("CRAM-MD5", func(*core.Peer) smtp.Auth { return smtp.CRAMMD5Auth(user, password) }))
		}, mechanismtest.Config{Server: other("CRAM-MD5", cramServer)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.with != nil {
				tt.config.New = func(testing.TB) core.Mechanism { return tt.with("ann", annsPassword) }
				tt.config.Secrets = []string{annsPassword}
			}
			tt.config.Vectors = tt.vectors
			mechanismtest.Run(t, tt.config)
		})
	}
}

func always(m core.Mechanism) func(testing.TB) core.Mechanism {
	return func(testing.TB) core.Mechanism { return m }
}

// silentSource is a source that does not answer.
func silentSource(ctx context.Context) (user, password string, err error) {
	<-ctx.Done()
	return "", "", ctx.Err()
}

func scramVector(name string, m func(user, password string) core.Mechanism, nonce, first, challenge, response, signature string) mechanismtest.Vector {
	return mechanismtest.Vector{
		Name:    name,
		New:     always(mechanisms.WithNonce(m("user", "pencil"), nonce)),
		Initial: []byte(first),
		Rounds:  []mechanismtest.Round{{Challenge: []byte(challenge), Response: []byte(response)}, {Challenge: []byte(signature)}},
	}
}

func scram(name string) mechanismtest.Config {
	return mechanismtest.Config{
		Server: smtptest.ServerOptions{
			Users: map[string]string{"ann": annsPassword}, SCRAM: []string{name}, StartTLS: strings.HasSuffix(name, "-PLUS"),
		},
		ProvesServer: true,
	}
}

func showingToken(name string, m func(string, mechanisms.TokenSource) core.Mechanism) mechanismtest.Config {
	return mechanismtest.Config{
		New:     func(testing.TB) core.Mechanism { return m("ann", mechanisms.StaticToken(annsToken)) },
		Secrets: []string{annsToken},
		Server: other(name, func(responses [][]byte) smtptest.AuthStep {
			switch {
			case len(responses) > 1: // RFC 7628 §3.2.3
				return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no such token")}
			case strings.HasSuffix(string(responses[0]), "\x01auth=Bearer "+annsToken+"\x01\x01"):
				return smtptest.AuthStep{User: "ann"}
			}
			return smtptest.AuthStep{Challenge: []byte(`{"status":"invalid_token"}`)}
		}),
		Blocked: always(m("ann", func(ctx context.Context, _ string) (*oauth2.Token, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})),
	}
}

// other is a server with another mechanism than those that it has by itself.
func other(name string, f smtptest.AuthFunc) smtptest.ServerOptions {
	return smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{name: f}}
}

// saying is a server that wants to hear this, and asks for it with empty
// challenges.
func saying(name string, want ...string) smtptest.ServerOptions {
	return other(name, func(responses [][]byte) smtptest.AuthStep {
		switch n := len(responses); {
		case string(responses[n-1]) != want[n-1]:
			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no")}
		case n == len(want):
			return smtptest.AuthStep{User: "ann"}
		}
		return smtptest.AuthStep{}
	})
}

const cramChallenge = "<1896.697170952@postoffice.reston.mci.net>"

// cramServer is RFC 2195 §2. The digest was made by another program:
//
//	printf '%s' "$CHALLENGE" | openssl dgst -md5 -hmac "$PASSWORD"
func cramServer(responses [][]byte) smtptest.AuthStep {
	switch {
	case len(responses) == 1:
		return smtptest.AuthStep{Challenge: []byte(cramChallenge)}
	case string(responses[1]) == "ann e8f3cdf90a3f6bcb1154712156b5553a":
		return smtptest.AuthStep{User: "ann"}
	}
	return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 wrong user or password")}
}

var digestResponse = regexp.MustCompile(`^username="ann",realm="r",nonce="n",nc=00000001,cnonce="(\w+)",digest-uri="(smtp/[^"]+)",response=(\w+),qop=auth$`)

// digestServer is RFC 2831 §2.1.
func digestServer(responses [][]byte) smtptest.AuthStep {
	if len(responses) == 1 {
		return smtptest.AuthStep{Challenge: []byte(`realm="r",nonce="n",qop="auth",algorithm=md5-sess`)}
	}
	hash := func(s string) string {
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	said := digestResponse.FindStringSubmatch(string(responses[1]))
	if said == nil {
		return smtptest.AuthStep{Refusal: smtptest.Reply("501 5.5.2 no digest-response")}
	}
	cnonce, uri, response := said[1], said[2], said[3]
	inner := md5.Sum([]byte("ann:r:" + annsPassword))
	answer := func(a2 string) string {
		return hash(hash(string(inner[:])+":n:"+cnonce) + ":n:00000001:" + cnonce + ":auth:" + hash(a2))
	}
	switch {
	case response != answer("AUTHENTICATE:"+uri):
		return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 wrong user or password")}
	case len(responses) == 2:
		return smtptest.AuthStep{Challenge: []byte("rspauth=" + answer(":"+uri))}
	}
	return smtptest.AuthStep{User: "ann"}
}

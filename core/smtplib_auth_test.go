package core_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// offersAuth is a server that offers mechanisms.
func offersAuth(names string) string {
	return "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH " + names + "\n"
}

func TestSmtplib_23_235IsSuccess(t *testing.T) {
	s, _ := mustHello(t, offersAuth("PLAIN")+"C: AUTH PLAIN AHUAcA==\nS: 235 welcome\n")
	if err := s.Auth(t.Context(), mechanisms.Plain("u", "p")); err != nil || s.Peer().Mechanism != "PLAIN" {
		t.Errorf("authenticated by %q: %v", s.Peer().Mechanism, err)
	}
	// A second time is refused here, and 503 is a refusal.
	hasError(t, s.Auth(t.Context(), mechanisms.Plain("u", "p")), core.StageAuth, core.Local, nil)
	s, _ = mustHello(t, offersAuth("PLAIN")+"C: AUTH PLAIN AHUAcA==\nS: 503 5.5.1 not here\n")
	if e := hasError(t, s.Auth(t.Context(), mechanisms.Plain("u", "p")), core.StageAuth, core.Permanent, core.ErrAuthentication); e.Code() != 503 {
		t.Errorf("reply %q", e.Reply)
	}
	if got := s.Peer().Mechanism; got != "" {
		t.Errorf("authenticated by %q", got)
	}
}

func TestSmtplib_24_AUTHThatIsNotOfferedIsNotSupported(t *testing.T) {
	s, _ := mustHello(t, plain)
	hasError(t, s.Auth(t.Context(), mechanisms.Plain("u", "p")), core.StageAuth, core.Permanent, core.ErrNotSupported)

	s, _ = mustHello(t, offersAuth("KERBEROS_V4 X-SPECIAL"))
	e := hasError(t, s.Auth(t.Context(), mechanisms.Plain("u", "p")), core.StageAuth, core.Permanent, core.ErrNotSupported)
	for _, want := range []string{"KERBEROS_V4 X-SPECIAL", "PLAIN"} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("error %q lacks %s", e, want)
		}
	}
}

func TestSmtplib_25_PLAINWithAndWithoutInitialResponse(t *testing.T) {
	for dialogue, m := range map[string]core.Mechanism{
		"C: AUTH PLAIN AHUAcA==\nS: 235 ok\n":                        mechanisms.Plain("u", "p"),
		"C: AUTH PLAIN\nS: 334\nC: AHUAcA==\nS: 235 ok\n":            mechanisms.WithoutInitialResponse(mechanisms.Plain("u", "p")),
		"C: AUTH PLAIN\nS~ \"334 \\r\\n\"\nC: AHUAcA==\nS: 235 ok\n": mechanisms.WithoutInitialResponse(mechanisms.Plain("u", "p")),
	} {
		s, _ := mustHello(t, offersAuth("PLAIN")+dialogue)
		if err := s.Auth(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
}

func TestSmtplib_26_aMechanismIsAFunctionFromChallengeToResponse(t *testing.T) {
	reverse := func(_ context.Context, challenge []byte) ([]byte, error) {
		if challenge == nil {
			return nil, nil // no initial response
		}
		return []byte("<" + string(challenge) + ">"), nil
	}
	// Names compare without case.
	s, _ := mustHello(t, offersAuth("plain x-Own")+"C: AUTH X-OWN\nS: 334 YQ==\nC: PGE+\nS: 334\nC: PD4=\nS: 235 ok\n")
	if err := s.Auth(t.Context(), mechanisms.Func("X-OWN", reverse)); err != nil {
		t.Error(err)
	}
	s, _ = mustHello(t, offersAuth("X-OWN")+"C: AUTH X-OWN YQ==\nS: 235 ok\n")
	if err := s.Auth(t.Context(), mechanisms.Func("X-OWN", func(context.Context, []byte) ([]byte, error) { return []byte("a"), nil })); err != nil {
		t.Error(err)
	}
}

func TestSmtplib_27_challengesWithoutEndAreCancelled(t *testing.T) {
	yes := func(_ context.Context, challenge []byte) ([]byte, error) {
		if challenge == nil {
			return nil, nil
		}
		return []byte("y"), nil
	}
	s, open := mustHello(t, offersAuth("X-OWN")+"C: AUTH X-OWN\n"+strings.Repeat("S: 334\nC: eQ==\n", 10)+"S: 334\nC: *\nS: 501 cancelled\nC: NOOP\nS: 250 ok\n")
	if e := hasError(t, s.Auth(t.Context(), mechanisms.Func("X-OWN", yes)), core.StageAuth, core.Temporary, core.ErrProtocol); !strings.Contains(e.Error(), "more than 10 challenges") {
		t.Errorf("error %q", e)
	}
	if err := s.Noop(t.Context()); err != nil {
		t.Error(err)
	}
	isOpen(t, open, true)

	s, _ = mustHello(t, offersAuth("X-OWN")+"C: AUTH X-OWN\n"+strings.Repeat("S: 334\nC: eQ==\n", 10)+"S: 235 ok\n")
	if err := s.Auth(t.Context(), mechanisms.Func("X-OWN", yes)); err != nil {
		t.Error(err)
	}
}

func TestSmtplib_28_credentialsMayBeAnyUTF8(t *testing.T) {
	const user, password = "jürgen@例.example", "pässwörd €"
	s, _ := mustHello(t, offersAuth("PLAIN")+"C: AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))+"\nS: 235 ok\n")
	if err := s.Auth(t.Context(), mechanisms.Plain(user, password)); err != nil {
		t.Error(err)
	}
}

// helloTLS is mustHello for a server with a certificate.
func helloTLS(t *testing.T, dialogue string, server *tls.Config, change ...func(*core.Config)) (*core.Session, func(want bool)) {
	t.Helper()
	s, open, err := dialCounted(t, dialogue, smtptest.Options{Remote: true, TLS: server}, change...)
	if err == nil {
		err = s.Hello(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, func(want bool) { t.Helper(); isOpen(t, open, want) }
}

func TestSmtplib_29_STARTTLS(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	trusting := func(c *core.Config) { c.TLS = trust }
	t.Run("not offered", func(t *testing.T) {
		s, open := helloTLS(t, pipelining, server, trusting)
		hasError(t, s.StartTLS(t.Context()), core.StageTLS, core.Permanent, core.ErrNotSupported)
		open(true)
	})
	t.Run("refused", func(t *testing.T) {
		s, open := helloTLS(t, startTLS+"S: 454 4.7.0 not now\n", server, trusting)
		if e := hasError(t, s.StartTLS(t.Context()), core.StageTLS, core.Temporary, nil); e.Reply.String() != "454 4.7.0 not now" {
			t.Errorf("reply %q", e.Reply)
		}
		open(true)
	})
	t.Run("a handshake, and EHLO again before the next command", func(t *testing.T) {
		s, _ := helloTLS(t, startTLS+"S: 220 go\nTLS\nC: EHLO client.example\nS: 250-mx.example\nS: 250 SIZE 9\nC: NOOP\nS: 250 ok\n", server, trusting)
		if err := errors.Join(s.StartTLS(t.Context()), s.Noop(t.Context())); err != nil {
			t.Fatal(err)
		}
		if p := s.Peer(); p.TLS == nil || p.TLSError != nil || p.Extensions.Has("STARTTLS") || p.Extensions.Has("PIPELINING") || !p.Extensions.Has("SIZE") {
			t.Errorf("peer %+v", p)
		}
	})
}

func TestSmtplib_30_TLSIsVerifiedAndNothingComesBeforeIt(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	other, trustOther := smtptest.NewCertificate(t, "other.example")
	t.Run("clear text behind the reply is an error", func(t *testing.T) {
		s, open := helloTLS(t, startTLS+"S: 220 go\nS: 250 AUTH PLAIN\nHANG", server, func(c *core.Config) { c.TLS = trust })
		hasError(t, s.StartTLS(t.Context()), core.StageTLS, core.Temporary, core.ErrProtocol)
		open(false)
	})
	for rule, tt := range map[string]struct{ server, client *tls.Config }{
		"an unknown authority is refused":        {server, nil},
		"a certificate for another host is, too": {other, trustOther},
	} {
		t.Run(rule, func(t *testing.T) {
			s, open := helloTLS(t, startTLS+"S: 220 go\nTLS\n", tt.server, func(c *core.Config) { c.TLS = tt.client })
			e := hasError(t, s.StartTLS(t.Context()), core.StageTLS, core.Permanent, core.ErrDisconnected)
			if _, ok := errors.AsType[*tls.CertificateVerificationError](e); !ok {
				t.Errorf("error %q", e)
			}
			open(false)
			hasError(t, s.Noop(t.Context()), core.StageConnect, core.Temporary, core.ErrDisconnected)
		})
	}
}

func TestSmtplib_31_theNameInTheCertificateCanBeSetApart(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "other.example")
	trust.ServerName = "other.example"
	s, _ := helloTLS(t, startTLS+underTLS, server, func(c *core.Config) { c.TLS = trust })
	if err := s.StartTLS(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Peer().TLS.ServerName; got != "other.example" {
		t.Errorf("the name is %q", got)
	}
}

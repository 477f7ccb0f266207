package mechanisms_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// inBase64 returns a dialogue in which what stands in braces is in base64.
func inBase64(dialogue string) string {
	return regexp.MustCompile(`{[^}]*}`).ReplaceAllStringFunc(dialogue, func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(s[1 : len(s)-1]))
	})
}

// The examples of the RFCs, octet for octet.
func TestSCRAM_vectors(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		mechanism core.Mechanism
		nonce     string
		dialogue  string
	}{
		{"RFC 5802 §5", mechanisms.SCRAMSHA1("user", "pencil"), "fyko+d2lbbFgONRv9qkxdawL", `
			C: AUTH SCRAM-SHA-1 {n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL}
			S: 334 {r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096}
			C: {c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=}
			S: 334 {v=rmF9pqV8S7suAoZWja4dJRkFsKQ=}
			C:
			S: 235 ok`},
		{"RFC 7677 §3", mechanisms.SCRAMSHA256("user", "pencil"), "rOprNGfwEbeRWgbNEkqO", `
			C: AUTH SCRAM-SHA-256 {n,,n=user,r=rOprNGfwEbeRWgbNEkqO}
			S: 334 {r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096}
			C: {c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=}
			S: 334 {v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=}
			C:
			S: 235 ok`},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.WithNonce(tt.mechanism, tt.nonce)
			for range 2 { // it can be used again
				if err := auth(t, m, inBase64(tt.dialogue)); err != nil {
					t.Error(err)
				}
			}
			if n := mechanisms.KeysHeld(m); n != 1 {
				t.Errorf("%d keys were derived for one salt", n)
			}
		})
	}
}

func TestSCRAM_names(t *testing.T) {
	for want, m := range map[string]core.Mechanism{
		"SCRAM-SHA-1":        mechanisms.SCRAMSHA1("u", "p"),
		"SCRAM-SHA-256":      mechanisms.SCRAMSHA256("u", "p"),
		"SCRAM-SHA-512":      mechanisms.SCRAMSHA512("u", "p"),
		"SCRAM-SHA-1-PLUS":   mechanisms.SCRAMSHA1Plus("u", "p"),
		"SCRAM-SHA-256-PLUS": mechanisms.SCRAMSHA256Plus("u", "p"),
		"SCRAM-SHA-512-PLUS": mechanisms.SCRAMSHA512Plus("u", "p"),
	} {
		if m.Name() != want || m.(core.Checker).Check() != nil || !m.(core.SecretKeeper).KeepsSecret() {
			t.Errorf("%s is %s, or cannot work, or shows a secret", want, m.Name())
		}
	}
	if got := (mechanisms.SCRAM{}).Mechanism("u", "p").Name(); got != "SCRAM-SHA-256" {
		t.Errorf("the zero value is %s", got)
	}
}

func TestSCRAM_firstMessage(t *testing.T) {
	for _, tt := range []struct {
		rule           string
		config         mechanisms.SCRAM
		user, password string
		want           string // of the initial response, without the nonce
	}{
		{"',' and '=' in names are written =2C and =3D (RFC 5802 §5.1)", mechanisms.SCRAM{}, "a,b=c=2C", "p", "n,,n=a=2Cb=3Dc=3D2C,"},
		{"the user to act as (RFC 5802 §5.1)", mechanisms.SCRAM{Identity: "x,y"}, "u", "p", "n,a=x=2Cy,n=u,"},
		{"names are prepared (RFC 4013 §3, examples 1, 2, 4 and 5)", mechanisms.SCRAM{Identity: "\u00aa"}, "I\u00adX user USER \u2168", "p", "n,a=a,n=IX user USER IX,"},
		{"a name may hold what Unicode 3.2 does not know (RFC 5802 §5.1)", mechanisms.SCRAM{}, "😀", "p", "n,,n=😀,"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := tt.config.Mechanism(tt.user, tt.password)
			if err := m.(core.Checker).Check(); err != nil {
				t.Fatal(err)
			}
			_, initial, err := m.Start(t.Context(), &core.Peer{})
			if got, nonce, ok := strings.Cut(string(initial), "r="); err != nil || got != tt.want || !ok || len(nonce) < 24 {
				t.Errorf("got %q, %v, want %q and a nonce", initial, err, tt.want)
			}
			if _, again, _ := m.Start(t.Context(), &core.Peer{}); string(again) == string(initial) {
				t.Error("the nonce is used twice")
			}
		})
	}
}

func TestSCRAM_refuses(t *testing.T) {
	for _, tt := range []struct {
		rule           string
		config         mechanisms.SCRAM
		user, password string
		says           string
	}{
		{"no user name", mechanisms.SCRAM{}, "", "hunter2", "user name is empty"},
		{"no password", mechanisms.SCRAM{}, "user", "", "password is empty"},
		{"a name of which nothing is left (RFC 5802 §5.1)", mechanisms.SCRAM{}, "\u00ad", "hunter2", "user name is empty"},
		{"a control character (RFC 4013 §3, example 6)", mechanisms.SCRAM{}, "user", "hunter2\x07", "password"},
		{"directions mixed (RFC 4013 §3, example 7)", mechanisms.SCRAM{}, "\u06271", "hunter2", "user name"},
		{"a password with what Unicode 3.2 does not know (RFC 5802 §2.2)", mechanisms.SCRAM{}, "user", "hunter2😀", "password"},
		{"what is not UTF-8", mechanisms.SCRAM{}, "hunter2\xff", "hunter2", "user name"},
		{"an identity with NUL", mechanisms.SCRAM{Identity: "hunter2\x00"}, "user", "hunter2", "identity"},
		{"an unknown hash", mechanisms.SCRAM{Hash: 9}, "user", "hunter2", "SCRAM.Hash"},
		{"an unknown binding", mechanisms.SCRAM{Binding: 9}, "user", "hunter2", "SCRAM.Binding"},
		{"limits that leave nothing", mechanisms.SCRAM{MinIterations: 5000, MaxIterations: 4999}, "user", "hunter2", "MinIterations 5000 to MaxIterations 4999"},
		{"a limit below zero", mechanisms.SCRAM{MinIterations: -1}, "user", "hunter2", "MinIterations -1"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := tt.config.Mechanism(tt.user, tt.password)
			_, initial, err := m.Start(t.Context(), &core.Peer{})
			for _, err := range []error{err, m.(core.Checker).Check()} {
				if err == nil || initial != nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %q, %v, want an error with %q", initial, err, tt.says)
				}
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
					t.Errorf("the error shows the password: %v", err)
				}
			}
		})
	}
}

// What the test server of this project believes, which has the rest of SCRAM
// from the same library.
func TestSCRAM_withAServer(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{
		Users: map[string]string{"jürgen, =42": "pässwörd \u2168", "ann": "correct horse"},
		SCRAM: []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"},
	})
	for _, with := range []func(user, password string) core.Mechanism{
		mechanisms.SCRAMSHA1, mechanisms.SCRAMSHA256, mechanisms.SCRAMSHA512, mechanisms.SCRAM{MinIterations: 4096, MaxIterations: 4096}.Mechanism,
	} {
		for _, tt := range []struct {
			rule string
			m    core.Mechanism
			kind error
		}{
			{"accepts the password", with("ann", "correct horse"), nil},
			{"accepts what SASLprep makes the same (RFC 4013 §2)", with("ju\u0308rgen,\u00a0=42", "pa\u0308sswo\u0308rd IX"), nil},
			{"refuses a wrong password", with("ann", "battery staple"), core.ErrCredentials},
			{"refuses an unknown user", with("eve", "correct horse"), core.ErrCredentials},
		} {
			t.Run(tt.m.Name()+" "+tt.rule, func(t *testing.T) {
				if err := dialAndAuth(t, server, tt.m); !errors.Is(err, tt.kind) {
					t.Error(err)
				}
				if err := dialAndAuth(t, server, mechanisms.WithoutInitialResponse(tt.m)); !errors.Is(err, tt.kind) {
					t.Error("without an initial response:", err)
				}
			})
		}
	}
}

// dialAndAuth authenticates in a session of its own.
func dialAndAuth(t *testing.T, server *smtptest.Server, m core.Mechanism) error {
	t.Helper()
	s, err := core.Dial(t.Context(), server.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Auth(t.Context(), m)
}

func TestSCRAM_oneMechanismForManySessions(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Users: map[string]string{"ann": "correct horse"}, SCRAM: []string{"SCRAM-SHA-256"}})
	m := mechanisms.SCRAMSHA256("ann", "correct horse")
	var sessions sync.WaitGroup
	for range 8 {
		sessions.Go(func() {
			s, err := core.Dial(t.Context(), server.Config())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := errors.Join(s.Hello(t.Context()), s.Auth(t.Context(), m)); err != nil {
				t.Error(err)
			}
		})
	}
	sessions.Wait()
	if n := mechanisms.KeysHeld(m); n != 1 {
		t.Errorf("%d keys are held for one salt", n)
	}
}

// A server that makes a new salt each time fills no memory.
func TestSCRAM_keysAreBounded(t *testing.T) {
	m := mechanisms.SCRAM{MinIterations: 1}.Mechanism("ann", "correct horse")
	for i := range 100 {
		a, initial, err := m.Start(t.Context(), &core.Peer{})
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := strings.Cut(string(initial), "r=")
		salt := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "salt %d", i))
		if _, err := a.Next(t.Context(), []byte("r="+nonce+"x,s="+salt+",i=1")); err != nil {
			t.Fatal(err)
		}
		if n := mechanisms.KeysHeld(m); n > 16 {
			t.Fatalf("%d keys are held", n)
		}
	}
}

// The work cannot be cut short, so it is not begun in vain.
func TestSCRAM_doesNotBeginWhenTheContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := mechanisms.WithNonce(mechanisms.SCRAMSHA256("ann", "correct horse"), "n")
	a, _, err := m.Start(ctx, &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if response, err := a.Next(ctx, []byte("r=nonce,s=c2FsdA==,i=1000000")); response != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v", response, err)
	}
	if n := mechanisms.KeysHeld(m); n != 0 {
		t.Errorf("%d keys were derived", n)
	}
}

// E13: whatever prints a mechanism, or one run of it, does not print the
// password.
func TestSCRAM_isPrintedWithoutItsPassword_E13(t *testing.T) {
	m := mechanisms.WithNonce(mechanisms.SCRAM{Identity: "other"}.Mechanism("user", "hunter2"), "n")
	a, _, err := m.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Next(t.Context(), []byte("r=nonce,s=c2FsdA==,i=4096")); err != nil {
		t.Fatal(err)
	}
	config := core.Config{Auth: []core.Mechanism{m}}
	for name, v := range map[string]any{
		"a mechanism": m, "a list": config.Auth, "a struct": struct{ m core.Mechanism }{m}, "a pointer to a struct": &struct{ M core.Mechanism }{m},
		"a Config": config, "a pointer to a Config": &config, "a run": a, "a struct with a run": struct{ a core.Authentication }{a},
		"a pointer to a struct with a run": &struct{ A core.Authentication }{a},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%T", "%10v"} {
			got := fmt.Sprintf(verb, v)
			for _, secret := range []string{"hunter2", "68756e74657232", "68756E74657232"} {
				if strings.Contains(got, secret) {
					t.Errorf("%s with %s: %s", name, verb, got)
				}
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, m); got != "SCRAM-SHA-256" {
			t.Errorf("%s prints %q, want the name", verb, got)
		}
	}
}

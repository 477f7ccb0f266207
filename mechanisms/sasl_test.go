package mechanisms_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// A mechanism that is written for go-sasl needs a name and a constructor. This
// one sends no secret, and says so.
func ExampleFromSASL() {
	m := mechanisms.KeepingSecret(mechanisms.FromSASL(sasl.Anonymous, func(*core.Peer) (sasl.Client, error) {
		return sasl.NewAnonymousClient("build 7"), nil
	}))
	_, initial, err := m.Start(context.Background(), &core.Peer{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v %s\n", m, initial)

	// Output:
	// ANONYMOUS build 7
}

// client returns what FromSASL wants, for a client that needs to know nothing of
// the server.
func client(each func() sasl.Client) func(*core.Peer) (sasl.Client, error) {
	return func(*core.Peer) (sasl.Client, error) { return each(), nil }
}

// saslClient is a client of a test's own.
type saslClient struct {
	name  string
	start func() ([]byte, error)
	next  func(challenge []byte) ([]byte, error)
}

func (c saslClient) Start() (string, []byte, error) {
	initial, err := c.start()
	return c.name, initial, err
}
func (c saslClient) Next(challenge []byte) ([]byte, error) { return c.next(challenge) }

// The clients of go-sasl, in a session of the core.
func TestFromSASL_dialogue(t *testing.T) {
	no := errors.New("no")
	for _, tt := range []struct {
		rule     string
		name     string
		each     func() sasl.Client
		dialogue string
		kind     error
	}{
		{"PLAIN", "PLAIN", func() sasl.Client { return sasl.NewPlainClient("", "u", "p") }, authPlain("p") + "S: 235 ok", nil},
		{"PLAIN answers no challenge", "PLAIN", func() sasl.Client { return sasl.NewPlainClient("", "u", "p") }, authPlain("p") + "S: 334\nC: *\nS: 501 ok", sasl.ErrUnexpectedServerChallenge},
		{"LOGIN", "LOGIN", func() sasl.Client { return sasl.NewLoginClient("u", "p") }, "C: AUTH LOGIN dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 ok", nil},
		{"a name in lower case is meant", "login", func() sasl.Client { return sasl.NewLoginClient("u", "p") }, "C: AUTH LOGIN dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 ok", nil},
		{"an empty initial response is one (RFC 4954 §4)", "EXTERNAL", func() sasl.Client { return sasl.NewExternalClient("") }, "C: AUTH EXTERNAL =\nS: 235 ok", nil},
		{"none is none", "X-OWN", func() sasl.Client {
			return saslClient{"X-OWN", func() ([]byte, error) { return nil, nil }, func(c []byte) ([]byte, error) { return append(c, '!'), nil }}
		}, "C: AUTH X-OWN\nS: 334 aGk=\nC: aGkh\nS: 235 ok", nil},
		{"a refusal is the session's", "PLAIN", func() sasl.Client { return sasl.NewPlainClient("", "u", "p") }, authPlain("p") + "S: 535 no", core.ErrCredentials},
		{"an error of Start writes nothing", "X-OWN", func() sasl.Client {
			return saslClient{"X-OWN", func() ([]byte, error) { return nil, no }, nil}
		}, "", no},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.FromSASL(tt.name, client(tt.each))
			for range 2 { // it can be used again
				if err := auth(t, m, tt.dialogue); !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
					t.Error(err)
				}
			}
		})
	}
}

func TestFromSASL_mistakes(t *testing.T) {
	no := errors.New("no")
	for text, m := range map[string]core.Mechanism{
		"the function given to mechanisms.FromSASL is nil": mechanisms.FromSASL("PLAIN", nil),
		"returned no client":          mechanisms.FromSASL("PLAIN", client(func() sasl.Client { return nil })),
		`as LOGIN is one for "PLAIN"`: mechanisms.FromSASL("LOGIN", client(func() sasl.Client { return sasl.NewPlainClient("", "u", "p") })),
		"no":                          mechanisms.FromSASL("PLAIN", func(*core.Peer) (sasl.Client, error) { return nil, no }),
	} {
		if _, _, err := m.Start(t.Context(), &core.Peer{}); err == nil || !strings.Contains(err.Error(), text) || core.ClassOf(err) != core.Local {
			t.Errorf("%v, want %q", err, text)
		}
	}
	if err := mechanisms.FromSASL("PLAIN", nil).(core.Checker).Check(); err == nil {
		t.Error("a nil function passes")
	}
}

func TestKeepingSecret(t *testing.T) {
	cram := mechanisms.FromSASL("X-CRAM", client(func() sasl.Client { return sasl.NewPlainClient("", "u", "p") }))
	for _, tt := range []struct {
		rule string
		m    core.Mechanism
		kind error
	}{
		{"E1 without it nothing is shown in clear text", cram, core.ErrTLSRequired},
		{"with it the mechanism is used", mechanisms.KeepingSecret(cram), nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			choice, err := core.ChooseMechanism(core.Config{Auth: []core.Mechanism{tt.m}}, peerOffering(t, "X-CRAM"))
			if err != nil {
				t.Fatal(err)
			}
			if got := choice.Candidates[0].Err; !errors.Is(got, tt.kind) || (got == nil) != (tt.kind == nil) {
				t.Error(got)
			}
		})
	}
	if err := mechanisms.KeepingSecret(mechanisms.FromSASL("PLAIN", nil)).(core.Checker).Check(); err == nil {
		t.Error("what is wrong with the mechanism is not said")
	}
	if err := mechanisms.KeepingSecret(mechanisms.SCRAMSHA256Plus("u", "p")).(core.PeerChecker).CheckPeer(&core.Peer{}); err == nil {
		t.Error("that the server does not suit is not said")
	}
	for _, plain := range []core.Mechanism{mechanisms.KeepingSecret(mechanisms.Func("X", nil)), mechanisms.KeepingSecret(mechanisms.Plain("u", "p"))} {
		if plain.(core.Checker).Check() != nil != (plain.Name() == "X") || plain.(core.PeerChecker).CheckPeer(&core.Peer{}) != nil {
			t.Errorf("%v has mistakes of its own", plain)
		}
	}
}

// peerOffering is a server elsewhere that offers mechanisms in clear text.
func peerOffering(t *testing.T, names string) *core.Peer {
	t.Helper()
	config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH "+names, smtptest.Options{Remote: true}).Config()
	config.TLSPolicy = core.TLSOff
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Peer()
}

func TestSASL_severalSessions(t *testing.T) {
	m := mechanisms.FromSASL("LOGIN", func(peer *core.Peer) (sasl.Client, error) {
		return mechanisms.ToSASL(t.Context(), mechanisms.Login("u", "p"), peer), nil
	})
	var running sync.WaitGroup
	for range 20 {
		running.Go(func() {
			a, initial, err := m.Start(t.Context(), local)
			if err != nil || string(initial) != "u" {
				t.Error(string(initial), err)
				return
			}
			if response, err := a.Next(t.Context(), []byte("Password:")); err != nil || string(response) != "p" || a.Done(t.Context()) != nil {
				t.Error(string(response), err)
			}
		})
	}
	running.Wait()
}

func TestSASL_isPrintedWithoutItsSecret_E13(t *testing.T) {
	from := mechanisms.FromSASL("LOGIN", client(func() sasl.Client { return sasl.NewLoginClient("u", "open-sesame") }))
	run, _, err := from.Start(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	values := []any{from, run, mechanisms.KeepingSecret(from)}
	for _, m := range []core.Mechanism{mechanisms.Plain("u", "open-sesame"), mechanisms.Login("u", "open-sesame"), mechanisms.SCRAMSHA1("u", "open-sesame"), mechanisms.XOAuth2("u", mechanisms.StaticToken("open-sesame"))} {
		to := mechanisms.ToSASL(t.Context(), m, local)
		if _, _, err := to.Start(); err != nil {
			t.Fatal(err)
		}
		values = append(values, to, mechanisms.KeepingSecret(m))
	}
	showsNoSecret(t, values...)
}

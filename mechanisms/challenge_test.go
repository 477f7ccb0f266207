package mechanisms_test

import (
	"context"
	"errors"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// auth authenticates with m to a server that offers it and plays the dialogue.
func auth(t *testing.T, m core.Mechanism, dialogue string) error {
	t.Helper()
	config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH "+m.Name()+"\n"+dialogue, smtptest.Options{}).Config()
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Auth(t.Context(), m)
}

func TestFunc_26(t *testing.T) {
	no := errors.New("no")
	for _, tt := range []struct {
		rule     string
		answer   func(challenge []byte) ([]byte, error)
		dialogue string
		kind     error
	}{
		{"it answers each challenge, nil being the call for an initial response", func(c []byte) ([]byte, error) {
			if c == nil {
				return []byte("first"), nil
			}
			return append(c, '!'), nil
		}, "C: AUTH X-OWN Zmlyc3Q=\nS: 334 aGk=\nC: aGkh\nS: 334\nC: IQ==\nS: 235 ok", nil},
		{"nil is no initial response", func(c []byte) ([]byte, error) { return c, nil }, "C: AUTH X-OWN\nS: 334 aGk=\nC: aGk=\nS: 235 ok", nil},
		{"an error cancels", func(c []byte) ([]byte, error) {
			if c == nil {
				return nil, nil
			}
			return nil, no
		}, "C: AUTH X-OWN\nS: 334\nC: *\nS: 501 ok", no},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.Func("X-OWN", func(_ context.Context, c []byte) ([]byte, error) { return tt.answer(c) })
			if err := auth(t, m, tt.dialogue); !errors.Is(err, tt.kind) {
				t.Error(err)
			}
		})
	}
}

func TestWithoutInitialResponse_25(t *testing.T) {
	plain := mechanisms.WithoutInitialResponse(mechanisms.Plain("u", "p"))
	if err := auth(t, plain, "C: AUTH PLAIN\nS: 334\nC: AHUAcA==\nS: 235 ok"); err != nil {
		t.Error(err)
	}
	if plain.(core.SecretKeeper).KeepsSecret() {
		t.Error("PLAIN keeps no secret")
	}
	if err := auth(t, plain, "C: AUTH PLAIN\nS: 334\nC: AHUAcA==\nS: 334 bW9yZQ==\nC: *\nS: 501 ok"); err == nil {
		t.Error("a second challenge was answered")
	}
	none := mechanisms.WithoutInitialResponse(mechanisms.Func("X-NONE", func(_ context.Context, c []byte) ([]byte, error) { return c, nil }))
	if err := auth(t, none, "C: AUTH X-NONE\nS: 334 aGk=\nC: aGk=\nS: 235 ok"); err != nil {
		t.Error(err)
	}
}

package core_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// picky is a mechanism that says whether it keeps its secret, and whether it
// suits a server.
type picky struct {
	named
	keeps bool
	err   error
}

func (p picky) KeepsSecret() bool          { return p.keeps }
func (p picky) CheckPeer(*core.Peer) error { return p.err }

// greetedBy returns what is known of a server with this reply to EHLO.
func greetedBy(t *testing.T, options smtptest.Options, announces string) *core.Peer {
	t.Helper()
	config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 "+announces, options).Config()
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

func TestChooseMechanism(t *testing.T) {
	unfit := errors.New("the moon is not full")
	for _, tt := range []struct {
		rule     string
		auth     []core.Mechanism
		least    string
		announce string
		remote   bool
		want     string
	}{
		{"the first that is offered", []core.Mechanism{named("X-ONE"), named("X-TWO"), named("X-THREE")}, "", "AUTH X-THREE X-TWO", false,
			"X-TWO, the first that will do of X-ONE X-TWO X-THREE; not offered: X-ONE"},
		{"names are compared without case", []core.Mechanism{named("X-ONE")}, "", "AUTH x-one", false, "X-ONE, the first that will do of X-ONE"},
		{"E1 one that shows a secret is passed over without TLS", []core.Mechanism{named("PLAIN"), picky{"CRAM-MD5", true, nil}}, "", "AUTH PLAIN CRAM-MD5", true,
			"CRAM-MD5, the first that will do of PLAIN CRAM-MD5; PLAIN: TLS is required: it would show a reusable secret, and the connection is not protected by verified TLS"},
		{"one that does not suit the server is passed over", []core.Mechanism{picky{"X-ONE", true, unfit}, named("X-TWO")}, "", "AUTH X-ONE X-TWO", false,
			"X-TWO, the first that will do of X-ONE X-TWO; X-ONE: the moon is not full"},
		{"E2 one that is weaker than the least is not used", []core.Mechanism{named("SCRAM-SHA-256"), named("PLAIN")}, "SCRAM-SHA-1", "AUTH PLAIN", false,
			"none will do of SCRAM-SHA-256 PLAIN; not offered: SCRAM-SHA-256; weaker than LeastMechanism allows: PLAIN"},
		{"the least itself is used", []core.Mechanism{named("SCRAM-SHA-1"), named("PLAIN")}, "SCRAM-SHA-1", "AUTH PLAIN SCRAM-SHA-1", false,
			"SCRAM-SHA-1, the first that will do of SCRAM-SHA-1 PLAIN; weaker than LeastMechanism allows: PLAIN"},
		{"one that the order does not know is never too weak", []core.Mechanism{named("X-ONE")}, "EXTERNAL", "AUTH X-ONE", false, "X-ONE, the first that will do of X-ONE"},
		{"none is configured", nil, "", "AUTH PLAIN", false, "none is configured"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			peer := greetedBy(t, smtptest.Options{Remote: tt.remote}, tt.announce)
			choice, err := core.ChooseMechanism(core.Config{Auth: tt.auth, LeastMechanism: tt.least}, peer)
			if err != nil {
				t.Fatal(err)
			}
			if got := choice.String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if len(choice.Candidates) != len(tt.auth) || !slices.Equal(choice.Offered, peer.Extensions.Mechanisms()) {
				t.Errorf("%d candidates, offered %q", len(choice.Candidates), choice.Offered)
			}
		})
	}
	if _, err := core.ChooseMechanism(core.Config{LeastMechanism: "PLAYN"}, &core.Peer{}); err == nil || !strings.Contains(err.Error(), "LeastMechanism") {
		t.Errorf("a least that does not exist: %v", err)
	}
}

// The error of a session for which no mechanism will do says what was offered,
// what was wanted, and why not, and leads to each reason.
func TestAuth_noMechanismWillDo_E2(t *testing.T) {
	unfit := errors.New("the moon is not full")
	c := newClient(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH PLAIN X-ONE\n", smtptest.Options{}, func(c *core.Config) {
		c.Auth = append(mechanisms.Password("user", "hunter2"), picky{"X-ONE", true, unfit})
		c.LeastMechanism = "SCRAM-SHA-256"
	})
	_, err := c.Send(t.Context(), message("b@example.com"))
	for _, kind := range []error{core.ErrNotSupported, core.ErrTooWeak, unfit} {
		if !errors.Is(err, kind) {
			t.Errorf("it is not %q: %v", kind, err)
		}
	}
	for _, want := range []string{"it offers PLAIN X-ONE", "weaker than LeastMechanism allows: SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN", "X-ONE: the moon"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// What was chosen, and why, can be seen by whoever wraps the opening of
// sessions.
func TestAuth_theChoiceIsSeen(t *testing.T) {
	var seen *core.Connect
	c := newClient(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-TWO\nC: AUTH X-TWO\nS: 535 no\n", smtptest.Options{}, func(c *core.Config) {
		c.Auth = []core.Mechanism{named("X-ONE"), twoSteps{}}
		c.Interceptors = append(c.Interceptors, core.Interceptor{Name: "look", Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, x *core.Connect) error {
				seen = x
				return next(ctx, x)
			}
		}})
	})
	_, _ = c.Send(t.Context(), message("b@example.com"))
	if want := "X-TWO, the first that will do of X-ONE X-TWO; not offered: X-ONE"; seen.Choice.String() != want {
		t.Errorf("got %s", seen.Choice)
	}
}

func TestAuth_fallback(t *testing.T) {
	const offers = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH PLAIN LOGIN CRAM-MD5\n"
	const cram = "C: AUTH CRAM-MD5\nS: 334 PHhAeT4=\nC/ .*\n"
	const plain = "C: AUTH PLAIN AHUAcA==\n"
	const login = "C: AUTH LOGIN dQ==\nS: 334 cHc=\nC: cA==\n"
	for _, tt := range []struct {
		rule     string
		fallback bool
		dialogue string
		want     string
	}{
		{"after a 535 nothing weaker is tried", false, cram + "S: 535 5.7.8 no\n", "refused 535 5.7.8"},
		{"with AuthFallback the next one is, as in smtplib", true, cram + "S: 535 no\n" + plain + "S: 504 no\n" + login + "S: 235 ok\nC: MAIL FROM:<a@example.com>\nS: 550 5.1.0 no\n" + bye, "refused 550 5.1.0"},
		{"the last refusal counts", true, cram + "S: 535 no\n" + plain + "S: 535 no\n" + login + "S: 534 5.7.9 no\n", "refused 534 5.7.9"},
		{"a temporary one ends it", true, cram + "S: 454 4.7.0 later\n", "deferred 454 4.7.0"},
		{"so does the end of the connection", true, cram + "CLOSE", "deferred"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, offers+tt.dialogue, smtptest.Options{}, func(c *core.Config) {
				c.AuthFallback = tt.fallback
				c.Auth = []core.Mechanism{mechanisms.CRAMMD5("u", "p"), mechanisms.Plain("u", "p"), mechanisms.Login("u", "p")}
			})
			receipt, _ := c.Send(t.Context(), message("b@example.com"))
			if got := outcomes(receipt); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestCompareStrength(t *testing.T) {
	names := []string{"LOGIN", "PLAIN", "SCRAM-SHA-1", "X-OWN", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "A-OWN", "SCRAM-SHA-512"}
	slices.SortFunc(names, core.CompareStrength)
	if got, want := strings.Join(names, " "), "A-OWN X-OWN SCRAM-SHA-256-PLUS SCRAM-SHA-512 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

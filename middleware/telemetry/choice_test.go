package telemetry_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/telemetry"
)

// asked is a mechanism that says of any server what a function says.
type asked struct{ answer func() error }

func (asked) Name() string                 { return "X-ASKED" }
func (a asked) CheckPeer(*core.Peer) error { return a.answer() }
func (asked) KeepsSecret() bool            { return true }
func (asked) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, errors.New("never chosen")
}

func TestTheSpanOfAnAuthenticationSaysWhyThatMechanism(t *testing.T) {
	const secret = "opensesame99"
	for _, tt := range []struct {
		rule, announce string
		auth           []core.Mechanism
		want           string
	}{
		{"the one that was chosen, and those that could not be", "AUTH PLAIN LOGIN X-ASKED",
			[]core.Mechanism{mechanisms.CRAMMD5("alice.liddell", secret), asked{func() error { return errors.New("it is Monday") }}, mechanisms.Plain("alice.liddell", secret)},
			"PLAIN, the first that will do of CRAM-MD5 X-ASKED PLAIN; not offered: CRAM-MD5; X-ASKED: it is Monday"},
		{"none", "AUTH LOGIN", []core.Mechanism{mechanisms.Plain("alice.liddell", secret)},
			"none will do of PLAIN; not offered: PLAIN"},
		{"not what one panicked with", "AUTH PLAIN X-ASKED",
			[]core.Mechanism{asked{func() error { panic("boom " + secret) }}, mechanisms.Plain("alice.liddell", secret)},
			"PLAIN, the first that will do of X-ASKED PLAIN; X-ASKED: it panicked when it was asked"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			o := observe(t)
			client := o.client(serve(t, &smtpServer{announce: []string{tt.announce}}), func(c *core.Config) { c.Auth = tt.auth })
			_, _ = send(t, client, letter(bob))
			wantAttrs(t, "auth", o.one(telemetry.SpanAuth).Attributes(), map[attribute.Key]any{"postrider.auth.choice": tt.want})
			wantAttrs(t, "connect", o.one(telemetry.SpanConnect).Attributes(), map[attribute.Key]any{"postrider.auth.choice": nil})
			for _, word := range []string{secret, "alice.liddell", "boom"} {
				if strings.Contains(o.dump(), word) {
					t.Errorf("%q was recorded", word)
				}
			}
		})
	}
}

// Where one mechanism follows another, the choice explains both.
func TestEachMechanismThatIsTriedHasASpan(t *testing.T) {
	o := observe(t)
	server := &smtpServer{announce: []string{"AUTH PLAIN LOGIN"}, answer: once("AUTH PLAIN", "535 5.7.8 no")}
	client := o.client(serve(t, server), func(c *core.Config) {
		c.Auth, c.AuthFallback = []core.Mechanism{mechanisms.Plain("u", "p"), mechanisms.Login("u", "p")}, true
	})
	_, _ = send(t, client, letter(bob))
	spans := o.named(telemetry.SpanAuth)
	if len(spans) != 2 {
		t.Fatalf("there are %d, want 2", len(spans))
	}
	wantFailure(t, spans[0], "535", "auth", "permanent")
	for i, name := range []string{"PLAIN", "LOGIN"} {
		wantAttrs(t, name, spans[i].Attributes(), map[attribute.Key]any{
			"postrider.auth.mechanism": name,
			"postrider.auth.choice":    "PLAIN, the first that will do of PLAIN LOGIN",
		})
	}
}

//go:build unix

package plugins_test

import (
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
)

// What a server sees of a plugin that fails: RFC 4954 §4's cancel, and a client that
// goes on.
func TestSession_cancelsWhenThePluginFails(t *testing.T) {
	for _, tt := range []struct {
		rule, challenge string // in base64
		kind            error
	}{
		{"E15 it dies mid-challenge", "Y3Jhc2g=", plugins.ErrEnded},
		{"E15 it hangs", "aGFuZw==", plugins.ErrLate},
		{"E15 it returns 100 MB", "bGFyZ2U=", plugins.ErrBroken},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, "well")
			f.config.CallTimeout, f.config.StopTimeout = 5*time.Second, 100*time.Millisecond
			if tt.kind == plugins.ErrLate {
				f.config.CallTimeout = 200 * time.Millisecond
			}
			p, err := plugins.Start(t.Context(), f.config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close(t.Context()) }() // one that hangs is killed
			f.await(t, plugins.Ready)
			script := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-TEST\n"+
				"C: AUTH X-TEST\nS: 334 "+tt.challenge+"\nC: *\nS: 501 cancelled\n"+
				"C: AUTH X-TEST\nS: 334 aGk=\nC: aGk=\nS: 235 ok", smtptest.Options{})
			session, err := core.Dial(t.Context(), script.Config())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = session.Close() }()
			if err := session.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = session.Auth(t.Context(), mechanism(t, p))
			temporary(t, err, tt.kind)
			if tt.kind == plugins.ErrEnded {
				f.await(t, plugins.Ready)
			}
			if err := session.Auth(t.Context(), mechanism(t, p)); err != nil {
				t.Errorf("the next AUTH: %v", err)
			}
		})
	}
}

package core_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// fake is a mechanism whose every step a test decides.
type fake struct {
	initial   []byte
	next      func(challenge []byte) ([]byte, error)
	startErr  error
	doneErr   error
	keepsIt   bool
	nothing   bool
	panicking bool
}

func (f *fake) Name() string      { return "X-FAKE" }
func (f *fake) KeepsSecret() bool { return f.keepsIt }
func (f *fake) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	switch {
	case f.panicking:
		panic("no")
	case f.nothing:
		return nil, nil, nil
	case f.startErr != nil:
		return nil, nil, f.startErr
	}
	return f, f.initial, nil
}
func (f *fake) Next(_ context.Context, challenge []byte) ([]byte, error) { return f.next(challenge) }
func (f *fake) Done(context.Context) error                               { return f.doneErr }

func TestAuth(t *testing.T) {
	yes := func([]byte) ([]byte, error) { return []byte("yes"), nil }
	empty := func([]byte) ([]byte, error) { return nil, nil }
	no := errors.New("I do not like it")
	long := []byte(strings.Repeat("x", 400))
	longB64 := base64.StdEncoding.EncodeToString(long)
	for _, tt := range []struct {
		rule     string
		f        fake
		dialogue string
		class    core.Class // zero: success
		kind     error
		over     bool // the session cannot be used further
	}{
		{"an initial response goes with the command (RFC 4954 §4)", fake{initial: []byte("abc")}, "C: AUTH X-FAKE YWJj\nS: 235 ok", 0, nil, false},
		{"E6 an empty one is '='", fake{initial: []byte{}}, "C: AUTH X-FAKE =\nS: 235 ok", 0, nil, false},
		{"without one the server is asked for a challenge", fake{next: yes}, "C: AUTH X-FAKE\nS: 334\nC: eWVz\nS: 235 ok", 0, nil, false},
		{"a challenge is decoded", fake{next: func(c []byte) ([]byte, error) { return append(c, '!'), nil }}, "C: AUTH X-FAKE\nS: 334 aGk=\nC: aGkh\nS: 235 ok", 0, nil, false},
		{"an empty response is an empty line", fake{next: empty}, "C: AUTH X-FAKE\nS: 334 aGk=\nC:\nS: 235 ok", 0, nil, false},
		{"E5 an initial response that makes the line too long waits for a challenge", fake{initial: long}, "C: AUTH X-FAKE\nS: 334\nC: " + longB64 + "\nS: 235 ok", 0, nil, false},
		{"trap 4: no '*' after 535", fake{initial: []byte("abc")}, "C: AUTH X-FAKE YWJj\nS: 535 5.7.8 no", core.Permanent, core.ErrAuthentication, false},
		{"E7 454 is temporary", fake{initial: []byte("abc")}, "C: AUTH X-FAKE YWJj\nS: 454 4.7.0 later", core.Temporary, core.ErrAuthentication, false},
		{"E7 432 is temporary", fake{initial: []byte("abc")}, "C: AUTH X-FAKE YWJj\nS: 432 4.7.12 change it", core.Temporary, core.ErrAuthentication, false},
		{"E7 421 is temporary and ends the session", fake{initial: []byte("abc")}, "C: AUTH X-FAKE YWJj\nS: 421 bye\nHANG", core.Temporary, core.ErrDisconnected, true},
		{"a mechanism that gives up after a challenge says '*' (RFC 4954 §4)", fake{next: func([]byte) ([]byte, error) { return nil, no }}, "C: AUTH X-FAKE\nS: 334\nC: *\nS: 501 cancelled", core.Local, no, false},
		{"trap 5: a challenge that is no base64 is cancelled", fake{next: yes}, "C: AUTH X-FAKE\nS: 334 %%%\nC: *\nS: 501 cancelled", core.Temporary, core.ErrProtocol, false},
		{"trap 5: so is one of several lines", fake{next: yes}, "C: AUTH X-FAKE\nS: 334-aGk=\nS: 334 aGk=!\nC: *\nS: 501 cancelled", core.Temporary, core.ErrProtocol, false},
		{"E3 endless challenges are cancelled", fake{next: empty}, "C: AUTH X-FAKE\n" + strings.Repeat("S: 334\nC:\n", 10) + "S: 334\nC: *\nS: 501 ok", core.Temporary, core.ErrProtocol, false},
		{"a cancel that is answered with success ends the session", fake{next: func([]byte) ([]byte, error) { return nil, no }}, "C: AUTH X-FAKE\nS: 334\nC: *\nS: 235 welcome\nHANG", core.Local, no, true},
		{"trap 8: success that the mechanism does not believe ends the session", fake{initial: []byte("abc"), doneErr: no}, "C: AUTH X-FAKE YWJj\nS: 235 ok\nHANG", core.Permanent, no, true},
		{"E17 the end of the connection after a challenge is no wrong password", fake{next: yes}, "C: AUTH X-FAKE\nS: 334\nC: eWVz\nCLOSE", core.Temporary, core.ErrDisconnected, true},
		{"unless it says that this may pass", fake{initial: []byte("abc"), doneErr: &core.Error{Class: core.Temporary, Err: no}}, "C: AUTH X-FAKE YWJj\nS: 235 ok\nHANG", core.Temporary, no, true},
		{"235 alone is success", fake{initial: []byte("abc")}, "C: AUTH X-FAKE YWJj\nS: 250 ok\nHANG", core.Temporary, core.ErrProtocol, true},
		{"354 is a protocol error", fake{initial: []byte("abc")}, "C: AUTH X-FAKE YWJj\nS: 354 go on\nHANG", core.Temporary, core.ErrProtocol, true},
		{"a mechanism that cannot start writes nothing", fake{startErr: no}, "", core.Local, no, false},
		{"a mechanism that starts nothing writes nothing", fake{nothing: true}, "", core.Local, nil, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			dialogue := "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-FAKE\n" + tt.dialogue
			if !tt.over {
				dialogue += "\nC: NOOP\nS: 250 ok"
			}
			s := mustDial(t, dialogue)
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := s.Auth(t.Context(), &tt.f)
			name := ""
			if tt.class == 0 {
				name = "X-FAKE"
				if err != nil {
					t.Error(err)
				}
			} else {
				hasError(t, err, core.StageAuth, tt.class, tt.kind)
			}
			if got := s.Peer().Mechanism; got != name {
				t.Errorf("Peer().Mechanism = %q, want %q", got, name)
			}
			if err := s.Noop(t.Context()); (err != nil) != tt.over {
				t.Errorf("Noop afterwards: %v", err)
			}
		})
	}
	t.Run("a panic is contained and names the mechanism", func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-FAKE\n")
		if err := s.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := s.Auth(t.Context(), &fake{panicking: true})
		if p, ok := errors.AsType[*core.PanicError](err); !ok || !strings.Contains(p.Where, "X-FAKE") {
			t.Error(err)
		}
	})
	t.Run("E14 a second AUTH is refused here", func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-FAKE\nC: AUTH X-FAKE YWJj\nS: 235 ok")
		if err := s.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := &fake{initial: []byte("abc")}
		if err := s.Auth(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		hasError(t, s.Auth(t.Context(), m), core.StageAuth, core.Local, nil)
	})
}

func TestAuth_choice(t *testing.T) {
	const remote = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\n"
	for _, tt := range []struct {
		rule     string
		dialogue string
		auth     []core.Mechanism
		class    core.Class
		kind     error
	}{
		{"24 no AUTH announced", remote + "S: 250 SIZE", []core.Mechanism{&fake{keepsIt: true}}, core.Permanent, core.ErrNotSupported},
		{"24 no mechanism in common", remote + "S: 250 AUTH CRAM-MD5", []core.Mechanism{&fake{keepsIt: true}}, core.Permanent, core.ErrNotSupported},
		{"E1 a reusable secret is not shown without TLS (RFC 4954 §4)", remote + "S: 250 AUTH PLAIN", mechanisms.Password("u", "p"), core.Local, core.ErrTLSRequired},
		{"E1 a mechanism that does not say is taken to show one", remote + "S: 250 AUTH X-TWO", []core.Mechanism{twoSteps{}}, core.Local, core.ErrTLSRequired},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, tt.dialogue, smtptest.Options{Remote: true}, func(c *core.Config) { c.Auth, c.TLSPolicy = tt.auth, core.TLSOff })
			_, err := c.Send(t.Context(), message("b@example.com"))
			hasError(t, err, core.StageAuth, tt.class, tt.kind)
		})
	}
	t.Run("the configuration's order is the order of preference, among what is safe", func(t *testing.T) {
		c := newClient(t, remote+"S: 250 AUTH X-FAKE PLAIN\nC: AUTH X-FAKE YWJj\nS: 235 ok\n"+`
			C: MAIL FROM:<a@example.com>
			S: 250 ok
			C: RCPT TO:<b@example.com>
			S: 250 ok
			C: DATA
			S: 354 go on
			`+sent+bye, smtptest.Options{Remote: true}, func(c *core.Config) {
			c.Auth, c.TLSPolicy = append(mechanisms.Password("u", "p"), &fake{initial: []byte("abc"), keepsIt: true}), core.TLSOff
		})
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if err != nil || receipt.Peer.Mechanism != "X-FAKE" {
			t.Error(err)
		}
	})
}

// E13: whatever can be printed of a session that authenticates is searched for
// the secret.
func TestAuth_theSecretIsNowhere_E13(t *testing.T) {
	const user, password = "rider-user", "sësame-öpen"
	plainText := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	secrets := []string{user, password, plainText, base64.StdEncoding.EncodeToString([]byte(password))}
	for _, reply := range []string{"235 welcome", "535 5.7.8 " + plainText + " is wrong, " + user + " " + password, "421 bye " + password} {
		t.Run(reply[:3], func(t *testing.T) {
			var dump strings.Builder
			spy := core.Interceptor{Name: "spy", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
				return func(ctx context.Context, x *core.Exchange) error {
					err := next(ctx, x)
					for c, replies := range x.Pairs() {
						fmt.Fprintf(&dump, "%v %+v %#v %v %+v\n", c, c, c, replies, err)
						if c != nil {
							fmt.Fprintf(&dump, "%+v %#v", *c, *c)
						}
					}
					fmt.Fprintf(&dump, "%+v %+v", x.Commands, x.Replies)
					return err
				}
			}}
			auth := []core.Mechanism{mechanisms.Plain(user, password)}
			config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH PLAIN\nC: AUTH PLAIN "+plainText+"\nS: "+reply, smtptest.Options{}).Config()
			config.Interceptors, config.Auth = []core.Interceptor{spy}, auth
			s, err := core.Dial(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = s.Auth(t.Context(), auth[0])
			fmt.Fprintf(&dump, "%v %+v %#v %+v %+v", err, err, err, auth, config.Auth)
			if e, ok := errors.AsType[*core.Error](err); ok {
				fmt.Fprintf(&dump, "%+v %#v", *e, *e)
			}
			if !strings.Contains(dump.String(), "AUTH PLAIN [redacted]") {
				t.Error("the spy saw nothing")
			}
			for _, s := range secrets {
				if strings.Contains(dump.String(), s) {
					t.Errorf("%q was printed:\n%s", s, dump.String())
				}
			}
		})
	}
}

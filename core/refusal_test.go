package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// RFC 4954 §6: the replies to AUTH are told apart.
func TestAuth_replies_E7(t *testing.T) {
	for _, tt := range []struct {
		reply string
		class core.Class
		kinds []error
		not   []error
		hint  string
	}{
		{"432 4.7.12 a password transition is needed", core.Temporary, nil, []error{core.ErrCredentials}, "once, in PLAIN under TLS"},
		{"454 4.7.0 temporary failure", core.Temporary, nil, []error{core.ErrCredentials, core.ErrMechanismRefused}, ""},
		{"500 5.5.6 too long", core.Permanent, nil, []error{core.ErrCredentials, core.ErrMechanismRefused}, ""},
		{"501 5.5.2 not base64", core.Permanent, nil, []error{core.ErrCredentials, core.ErrMechanismRefused}, ""},
		{"503 5.5.1 not now", core.Permanent, nil, []error{core.ErrCredentials}, "does not expect AUTH"},
		{"504 5.5.4 unknown mechanism", core.Permanent, []error{core.ErrMechanismRefused}, []error{core.ErrCredentials}, "another mechanism"},
		{"530 5.7.0 STARTTLS first", core.Permanent, []error{core.ErrTLSRequired}, []error{core.ErrCredentials}, "TLS first"},
		{"534 5.7.9 too weak", core.Permanent, []error{core.ErrMechanismRefused}, []error{core.ErrCredentials}, "stronger"},
		{"535 5.7.8 wrong", core.Permanent, []error{core.ErrCredentials}, []error{core.ErrMechanismRefused, core.ErrTLSRequired}, "check user name and password"},
		{"538 5.7.11 encryption required", core.Permanent, []error{core.ErrTLSRequired}, []error{core.ErrCredentials}, "TLS first"},
	} {
		t.Run(tt.reply, func(t *testing.T) {
			s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-FAKE\nC: AUTH X-FAKE YWJj\nS: "+tt.reply+"\nC: NOOP\nS: 250 ok")
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := s.Auth(t.Context(), &fake{initial: []byte("abc")})
			e := hasError(t, err, core.StageAuth, tt.class, core.ErrAuthentication)
			for _, kind := range tt.kinds {
				if !errors.Is(err, kind) {
					t.Errorf("it is not %q: %v", kind, err)
				}
			}
			for _, kind := range tt.not {
				if errors.Is(err, kind) {
					t.Errorf("it is %q: %v", kind, err)
				}
			}
			if !strings.Contains(e.Hint, tt.hint) || tt.hint == "" && e.Hint != "" {
				t.Errorf("the hint is %q", e.Hint)
			}
			if err := s.Noop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// fresh is a mechanism that has another secret each time, and hears of
// refusals.
type fresh struct {
	secrets []string
	again   bool
	other   core.Mechanism // instead of itself
	starts  int
	heard   []int
	steps   []string
}

func (*fresh) Name() string { return "X-FRESH" }
func (f *fresh) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	f.starts++
	f.steps = append(f.steps, "start")
	return freshRun{f}, []byte(f.secrets[f.starts-1]), nil
}

type freshRun struct{ of *fresh }

func (freshRun) Next(context.Context, []byte) ([]byte, error) { return nil, errors.New("no") }
func (freshRun) Done(context.Context) error                   { return nil }
func (r freshRun) Close() error {
	r.of.steps = append(r.of.steps, "close")
	return nil
}
func (r freshRun) Refused(_ context.Context, refusal *core.Error) core.Mechanism {
	r.of.heard = append(r.of.heard, refusal.Code())
	refusal.Err = fmt.Errorf("%w: %s has expired", refusal.Err, r.of.secrets[r.of.starts-1])
	refusal.Reply, refusal.Hint = core.Reply{}, "get another one"
	switch {
	case r.of.other != nil:
		return r.of.other
	case r.of.again:
		return r.of
	}
	return nil
}

func TestAuth_aMechanismWithOtherCredentialsIsRunOnceMore(t *testing.T) {
	const first, second = "C: AUTH X-FRESH c3RhbGU=\n", "C: AUTH X-FRESH ZnJlc2g=\n"
	for _, tt := range []struct {
		rule     string
		again    bool
		dialogue string
		starts   int
		kind     error
	}{
		{"and accepted", true, first + "S: 535 expired\n" + second + "S: 235 ok\n", 2, nil},
		{"but not a third time", true, first + "S: 535 expired\n" + second + "S: 535 no\n", 2, core.ErrCredentials},
		{"not without others", false, first + "S: 535 expired\n", 1, core.ErrCredentials},
		{"not after a temporary refusal", true, first + "S: 454 later\n", 1, core.ErrAuthentication},
		{"not on a session that is over", true, first + "S: 421 expired, bye\nHANG", 1, core.ErrDisconnected},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := &fresh{secrets: []string{"stale", "fresh"}, again: tt.again}
			s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-FRESH\n"+tt.dialogue)
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := s.Auth(t.Context(), f)
			if !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
				t.Errorf("got %v", err)
			}
			if f.starts != tt.starts {
				t.Errorf("it was started %d times, want %d", f.starts, tt.starts)
			}
			// What the first run holds may be what the second one needs.
			if want := append(slices.Repeat([]string{"start"}, tt.starts), slices.Repeat([]string{"close"}, tt.starts)...); !slices.Equal(f.steps, want) {
				t.Errorf("the runs were %v, want %v", f.steps, want)
			}
			if err == nil || errors.Is(err, core.ErrDisconnected) {
				return // it is not told of a 421
			}
			e, _ := errors.AsType[*core.Error](err)
			if e.Reply.Code != f.heard[len(f.heard)-1] || e.Stage != core.StageAuth || e.Hint != "get another one" {
				t.Errorf("the mechanism has changed the reply, or not the hint: %v", err)
			}
			if got := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(got, "stale") || strings.Contains(got, "fresh has") {
				t.Errorf("the secret is in %s", got)
			}
		})
	}
}

// Only the mechanism that was chosen is run again: another one might not be fit
// for this server.
func TestAuth_anotherMechanismIsNotRunAfterARefusal(t *testing.T) {
	for rule, other := range map[string]core.Mechanism{
		"of another name":               mechanisms.Plain("u", "p"),
		"that does not keep its secret": named("X-FRESH"),
	} {
		t.Run(rule, func(t *testing.T) {
			f := &keepingFresh{fresh{secrets: []string{"stale"}, other: other}}
			s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-FRESH PLAIN\nC: AUTH X-FRESH c3RhbGU=\nS: 535 no\n")
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Auth(t.Context(), f); !errors.Is(err, core.ErrCredentials) {
				t.Error(err)
			}
		})
	}
}

type keepingFresh struct{ fresh }

func (*keepingFresh) KeepsSecret() bool { return true }

// E13: an error of a mechanism that repeats what it has sent does not show it,
// and is still of its kind.
func TestAuth_aMechanismsErrorIsRedacted_E13(t *testing.T) {
	kind := errors.New("of a kind")
	secretive := fmt.Errorf("%w: abcdef is not what I want to say to aGk=", kind)
	for rule, tt := range map[string]struct {
		f        fake
		dialogue string
	}{
		"while it answers": {fake{initial: []byte("abcdef"), next: func([]byte) ([]byte, error) { return nil, secretive }}, "S: 334 aGk=\nC: *\nS: 501 ok"},
		"its last word":    {fake{initial: []byte("abcdef"), doneErr: secretive}, "S: 235 ok\nHANG"},
		"an error of ours": {fake{initial: []byte("abcdef"), next: func([]byte) ([]byte, error) {
			return nil, &core.Error{Stage: core.StageAuth, Class: core.Local, Err: secretive}
		}}, "S: 334 aGk=\nC: *\nS: 501 ok"},
	} {
		t.Run(rule, func(t *testing.T) {
			s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-FAKE\nC: AUTH X-FAKE YWJjZGVm\n"+tt.dialogue)
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := s.Auth(t.Context(), &tt.f)
			if !errors.Is(err, kind) {
				t.Errorf("its kind is lost: %v", err)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if got := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(got, "abcdef") {
					t.Errorf("the secret is in %s", got)
				}
			}
			if !strings.Contains(err.Error(), "[redacted] is not what I want") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A token that a server repeats without what stands around it is redacted, too.
func TestAuth_aTokenThatIsRepeatedIsRedacted_E13(t *testing.T) {
	m := mechanisms.Func("X-TOKEN", func(context.Context, []byte) ([]byte, error) {
		return []byte("user=ann\x01auth=Bearer ya29.secret\x01\x01"), nil
	})
	script := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH X-TOKEN\nC/ AUTH X-TOKEN .*\nS: 535 ya29.secret is no good\n", smtptest.Options{})
	s, err := core.Dial(t.Context(), script.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Auth(t.Context(), m); !errors.Is(err, core.ErrCredentials) || strings.Contains(fmt.Sprintf("%v %+v", err, err), "ya29") {
		t.Error(err)
	}
}

// E13: what a server quotes of a command it may cut, and break into lines.
func TestAuth_aPieceOfTheCredentialsIsRedacted_E13(t *testing.T) {
	for rule, reply := range map[string]string{
		"cut":             `500 5.5.1 Invalid command: "AUTH PLAIN AGFubgBTM2NyZXQtUG..."`,
		"the end of it":   `500 5.5.1 Invalid command: "...NyZXQtUGFzcw=="`,
		"in two lines":    "500-5.5.1 AGFubgBTM2Ny\nS: 500 5.5.1 ZXQtUGFzcw==",
		"out of base64":   "535 5.7.8 S3cret-Pa... is wrong",
		"in another form": "535 5.7.8 user ann: S3cret-Pass",
	} {
		t.Run(rule, func(t *testing.T) {
			s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGFubgBTM2NyZXQtUGFzcw==\nS: "+reply)
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := s.Auth(t.Context(), mechanisms.Plain("ann", "S3cret-Pass"))
			for _, piece := range []string{"S3cret", "TM2Ny", "UGFzc", "NyZXQ"} {
				if strings.Contains(fmt.Sprintf("%v %+v", err, err), piece) {
					t.Errorf("%q is in %v", piece, err)
				}
			}
		})
	}
}

package mechanisms_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
)

// The password is read anew for each connection, so that it can be replaced
// while the client runs.
func ExampleFrom() {
	secret := mechanisms.File{User: "alice@example.com", Path: "/run/secrets/smtp"}
	config := core.Config{
		Endpoint:   "smtps://mail.example.com",
		Transports: transport.Standard(),
		Auth: []core.Mechanism{
			mechanisms.From(secret.Credentials, mechanisms.SCRAMSHA256),
			mechanisms.From(secret.Credentials, mechanisms.Plain),
		},
	}
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(config.Auth)

	// Output:
	// [SCRAM-SHA-256 PLAIN]
}

// passwords is a source for the user "u" that returns one password after the
// other, and the last one for ever.
type passwords struct {
	list []string
	errs map[int]error // what the source returns instead, by call from 1

	mu    sync.Mutex
	asked int
}

func (s *passwords) credentials(context.Context) (string, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if err := s.errs[s.asked]; err != nil {
		return "", "", err
	}
	return "u", s.list[min(s.asked, len(s.list))-1], nil
}

// authPlain is what the client says with PLAIN for the user "u".
func authPlain(password string) string {
	return "C: AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00u\x00"+password)) + "\n"
}

func TestFrom_refusal(t *testing.T) {
	away := errors.New("the vault is sealed")
	for _, tt := range []struct {
		rule     string
		list     []string
		fails    map[int]error // by call of the source
		dialogue string
		asked    int
		kind     error
	}{
		{"the source is asked at the start", []string{"old"}, nil, authPlain("old") + "S: 235 ok", 1, nil},
		{"other credentials than those that were refused are used", []string{"old", "new", "never"}, nil, authPlain("old") + "S: 535 no\n" + authPlain("new") + "S: 235 ok", 2, nil},
		{"the same are not sent again", []string{"old"}, nil, authPlain("old") + "S: 535 no", 2, core.ErrCredentials},
		{"a second refusal is the last", []string{"old", "new", "never"}, nil, authPlain("old") + "S: 535 no\n" + authPlain("new") + "S: 535 no", 2, core.ErrCredentials},
		{"a temporary refusal is not about them", []string{"old", "never"}, nil, authPlain("old") + "S: 454 later", 1, core.ErrAuthentication},
		{"a source that fails then leaves the refusal as it is", []string{"old"}, map[int]error{2: away}, authPlain("old") + "S: 535 no", 2, core.ErrCredentials},
		{"so does one with credentials that cannot be sent", []string{"old", ""}, nil, authPlain("old") + "S: 535 no", 2, core.ErrCredentials},
		{"a source that fails at the start writes nothing", nil, map[int]error{1: away}, "", 1, away},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			source := passwords{list: tt.list, errs: tt.fails}
			err := auth(t, mechanisms.From(source.credentials, mechanisms.Plain), tt.dialogue)
			if !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
				t.Error(err)
			}
			if source.asked != tt.asked {
				t.Errorf("the source was asked %d times, want %d", source.asked, tt.asked)
			}
		})
	}
}

// A mechanism that answers challenges, and has a last word, has both.
func TestFrom_challenges(t *testing.T) {
	source := mechanisms.Static("u", "p")
	if err := auth(t, mechanisms.From(source, mechanisms.Login), "C: AUTH LOGIN dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 ok"); err != nil {
		t.Error(err)
	}
	if err := auth(t, mechanisms.From(source, mechanisms.CRAMMD5), "C: AUTH CRAM-MD5\nS: 235 ok\nHANG"); err == nil {
		t.Error("a server that asked for nothing was believed")
	}
}

// A server changes the password between two connections of one client.
func TestFrom_changedPassword(t *testing.T) {
	password := "old"
	source := func(context.Context) (string, string, error) { return "u", password, nil }
	m := mechanisms.From(source, mechanisms.Plain)
	for _, password = range []string{"old", "new"} {
		if err := auth(t, m, authPlain(password)+"S: 235 ok"); err != nil {
			t.Error(err)
		}
	}
}

func TestFrom_isWhatTheMechanismIs(t *testing.T) {
	source := mechanisms.Static("u", "p")
	for _, tt := range []struct {
		mechanism func(user, password string) core.Mechanism
		name      string
		keeps     bool
		wantsTLS  bool
	}{
		{mechanisms.Plain, "PLAIN", false, false},
		{mechanisms.CRAMMD5, "CRAM-MD5", true, false},
		{mechanisms.SCRAMSHA256Plus, "SCRAM-SHA-256-PLUS", true, true},
		{func(string, string) core.Mechanism {
			return mechanisms.Func("X-OWN", func(context.Context, []byte) ([]byte, error) { return nil, nil })
		}, "X-OWN", false, false},
	} {
		m := mechanisms.From(source, tt.mechanism)
		for range 2 { // before the first Start, and after it
			if m.Name() != tt.name || m.(core.SecretKeeper).KeepsSecret() != tt.keeps {
				t.Errorf("%s, KeepsSecret %t", m.Name(), !tt.keeps)
			}
			if err := m.(core.PeerChecker).CheckPeer(&core.Peer{}); (err != nil) != tt.wantsTLS {
				t.Errorf("%s: CheckPeer: %v", tt.name, err)
			}
			if err := m.(core.Checker).Check(); err != nil {
				t.Errorf("%s: Check: %v", tt.name, err)
			}
			if _, _, err := m.Start(t.Context(), &core.Peer{}); (err != nil) != tt.wantsTLS {
				t.Errorf("%s: Start: %v", tt.name, err)
			}
		}
	}
}

// A mechanism that derives keys from the password does so once.
func TestFrom_keepsTheLastMechanism(t *testing.T) {
	var made []string
	m := mechanisms.From((&passwords{list: []string{"a", "a", "b", "b", "a"}}).credentials, func(user, password string) core.Mechanism {
		made = append(made, password)
		return mechanisms.Plain(user, password)
	})
	for range 5 {
		if _, _, err := m.Start(t.Context(), &core.Peer{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(made, ","); got != ",a,b,a" {
		t.Error("mechanisms were made for the passwords", got)
	}
}

func TestFrom_mistakes(t *testing.T) {
	source := mechanisms.Static("u", "p")
	for rule, m := range map[string]core.Mechanism{
		"the source given to mechanisms.From is nil":   mechanisms.From(nil, mechanisms.Plain),
		"the function given to mechanisms.From is nil": mechanisms.From(source, nil),
		"returns nil for empty credentials":            mechanisms.From(source, func(string, string) core.Mechanism { return nil }),
	} {
		if _, _, err := m.Start(t.Context(), &core.Peer{}); err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("Start: %v, want %q", err, rule)
		}
		config := smtptest.NewScript(t, "", smtptest.Options{}).Config()
		config.Auth = []core.Mechanism{m}
		if _, err := core.NewClient(config); err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("NewClient: %v, want %q", err, rule)
		}
	}
	for rule, mechanism := range map[string]func(user, password string) core.Mechanism{
		"returned nil": func(user, password string) core.Mechanism {
			if user == "" {
				return mechanisms.Plain(user, password)
			}
			return nil
		},
		"returned LOGIN after PLAIN": func(user, password string) core.Mechanism {
			if user == "" {
				return mechanisms.Plain(user, password)
			}
			return mechanisms.Login(user, password)
		},
	} {
		if _, _, err := mechanisms.From(source, mechanism).Start(t.Context(), &core.Peer{}); err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%v, want %q", err, rule)
		}
	}
	_, _, err := mechanisms.From(mechanisms.Static("u", ""), mechanisms.SCRAMSHA256).Start(t.Context(), &core.Peer{})
	if err == nil || core.ClassOf(err) != core.Local {
		t.Errorf("empty credentials of a source: %v", err)
	}
}

// expiring is a mechanism whose runs expire and want to be told of refusals.
type expiring struct {
	core.Mechanism
	until time.Time
	again func() bool
}

func (e *expiring) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return expiringRun{nil, e}, []byte("x"), nil
}

type expiringRun struct {
	core.Authentication
	of *expiring
}

func (r expiringRun) Done(context.Context) error { return nil }
func (r expiringRun) Expires() time.Time         { return r.of.until }
func (r expiringRun) Refused(_ context.Context, refusal *core.Error) core.Mechanism {
	refusal.Hint = "told"
	if r.of.again() {
		return r.of
	}
	return nil
}

func TestFrom_passesOn(t *testing.T) {
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	start := func(again func() bool, source mechanisms.Source) core.Mechanism {
		return mechanisms.From(source, func(user, password string) core.Mechanism {
			return &expiring{mechanisms.Plain(user, password), until, again}
		})
	}
	t.Run("when the credential expires", func(t *testing.T) {
		a, _, err := start(nil, mechanisms.Static("u", "p")).Start(t.Context(), &core.Peer{})
		if err != nil || !a.(core.Expirer).Expires().Equal(until) {
			t.Error(err, a.(core.Expirer).Expires())
		}
		a, _, err = mechanisms.From(mechanisms.Static("u", "p"), mechanisms.Plain).Start(t.Context(), &core.Peer{})
		if err != nil || !a.(core.Expirer).Expires().IsZero() {
			t.Error(err, a.(core.Expirer).Expires())
		}
	})
	t.Run("a refusal, and that the mechanism has something else to offer", func(t *testing.T) {
		source := passwords{list: []string{"p"}}
		err := auth(t, start(func() bool { return true }, source.credentials), "C: AUTH PLAIN eA==\nS: 535 no\nC: AUTH PLAIN eA==\nS: 535 no")
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Hint != "told" || source.asked != 1 {
			t.Errorf("%v; the source was asked %d times", err, source.asked)
		}
	})
	t.Run("and the source is asked if it has not", func(t *testing.T) {
		source := passwords{list: []string{"p", "q"}}
		if err := auth(t, start(func() bool { return false }, source.credentials), "C: AUTH PLAIN eA==\nS: 535 no\nC: AUTH PLAIN eA==\nS: 235 ok"); err != nil || source.asked != 2 {
			t.Errorf("%v; the source was asked %d times", err, source.asked)
		}
	})
}

func TestFrom_context(t *testing.T) {
	m := mechanisms.From(func(ctx context.Context) (string, string, error) {
		<-ctx.Done()
		return "", "", context.Cause(ctx)
	}, mechanisms.Plain)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := m.Start(ctx, &core.Peer{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Each session is run again with what the source had for it, and with nothing
// of another session.
func TestFrom_severalSessions(t *testing.T) {
	source := passwords{list: []string{}}
	for n := range 100 {
		source.list = append(source.list, fmt.Sprint("password-", n))
	}
	m := mechanisms.From(source.credentials, mechanisms.Plain)
	var running sync.WaitGroup
	used := make(chan string, 100)
	for range 50 {
		running.Go(func() {
			a, initial, err := m.Start(t.Context(), &core.Peer{})
			if err != nil {
				t.Error(err)
				return
			}
			used <- string(initial)
			other := a.(core.RefusalHandler).Refused(t.Context(), &core.Error{Class: core.Permanent})
			if _, initial, err = other.Start(t.Context(), &core.Peer{}); err != nil {
				t.Error(err)
			}
			used <- string(initial)
		})
	}
	running.Wait()
	close(used)
	seen := map[string]bool{}
	for initial := range used {
		seen[initial] = true
	}
	if len(seen) != 100 || source.asked != 100 {
		t.Errorf("%d different credentials were used, and the source was asked %d times", len(seen), source.asked)
	}
}

// showsNoSecret prints values in every way, and looks for "open-sesame".
func showsNoSecret(t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%c", "%U", "%e", "%p", "%w"} {
			for _, got := range []string{fmt.Sprintf(verb, v), fmt.Sprintf(verb, struct{ v any }{v}), fmt.Sprintf(verb, struct{ V any }{v}), fmt.Sprintf(verb, []any{v}), fmt.Sprintf(verb, &v)} {
				for _, form := range []string{"%s", "%x", "%X", "%q", "%d", "%o", "%U", "%c"} {
					if want := strings.Trim(fmt.Sprintf(form, []byte("sesame")), "[]"); strings.Contains(got, want) {
						t.Errorf("%s of a %T shows the secret: %s", verb, v, got)
					}
				}
			}
		}
	}
}

func TestFrom_isPrintedWithoutItsCredentials_E13(t *testing.T) {
	source := mechanisms.Static("u", "open-sesame")
	values := []any{source}
	for _, mechanism := range []func(user, password string) core.Mechanism{
		mechanisms.Plain, mechanisms.Login, mechanisms.CRAMMD5, mechanisms.SCRAMSHA256,
		func(user, password string) core.Mechanism {
			return mechanisms.WithoutInitialResponse(mechanisms.Plain(user, password))
		},
	} {
		m := mechanisms.From(source, mechanism)
		peer := &core.Peer{}
		a, _, err := m.Start(t.Context(), peer)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, m, a, core.Config{Auth: []core.Mechanism{m}})
		if got := fmt.Sprintf("%v %#v", m, m); got != m.Name()+" "+m.Name() {
			t.Error(got)
		}
	}
	rotated := mechanisms.From((&passwords{list: []string{"x", "open-sesame"}}).credentials, mechanisms.Plain)
	a, _, err := rotated.Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	other := a.(core.RefusalHandler).Refused(t.Context(), &core.Error{Class: core.Permanent})
	if other == nil {
		t.Fatal("nothing to run again with")
	}
	showsNoSecret(t, append(values, rotated, a, other)...)
}

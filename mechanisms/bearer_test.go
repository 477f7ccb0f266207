package mechanisms_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// tokens is a source that notes what it is asked with, and returns one token
// after the other, and the last one for ever.
type tokens struct {
	list []string
	err  error // what the source returns instead of the second one

	mu    sync.Mutex
	asked []string
}

func (s *tokens) token(_ context.Context, refused string) (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, refused)
	if s.err != nil && len(s.asked) == 2 {
		return nil, s.err
	}
	return &oauth2.Token{AccessToken: s.list[min(len(s.asked), len(s.list))-1]}, nil
}

func (s *tokens) wasAskedWith(t *testing.T, refused ...string) {
	t.Helper()
	if got := fmt.Sprintf("%q", s.asked); got != fmt.Sprintf("%q", refused) {
		t.Errorf("the source was asked with %s, want %q", got, refused)
	}
}

// What both mechanisms do, each in its words.
var bearers = []struct {
	name    string
	new     func(user string, tokens mechanisms.TokenSource) core.Mechanism
	message func(token string) string // for the user "ann"
	goOn    string                    // E11: RFC 7628 §3.2.3, and an empty line for XOAUTH2
}{
	{"OAUTHBEARER", mechanisms.OAuthBearer, func(token string) string {
		return "n,a=ann,\x01host=server.example\x01auth=Bearer " + token + "\x01\x01"
	}, "AQ=="},
	{"XOAUTH2", mechanisms.XOAuth2, func(token string) string { return "user=ann\x01auth=Bearer " + token + "\x01\x01" }, ""},
}

func TestBearer_dialogue(t *testing.T) {
	const invalid = `{"status":"invalid_token","scope":"mail.send","openid-configuration":"https://example.com/.well-known/openid-configuration"}`
	for _, b := range bearers {
		try := func(token string) string { return "C: AUTH " + b.name + " " + base64Of(b.message(token)) + "\n" }
		report := func(json string) string { return "S: 334 " + base64Of(json) + "\nC: " + b.goOn + "\n" }
		for _, tt := range []struct {
			rule, dialogue string
			list           []string // of tokens
			asked          []string // what the source was asked with
			kind           error
			says           string
		}{
			{"success", try("token1") + "S: 235 ok", []string{"token1"}, []string{""}, nil, ""},
			{"E11 the report of failure is answered, and is in the error", try("token1") + report(invalid) + "S: 535 5.7.8 no", []string{"token1"}, []string{"", "token1"}, core.ErrCredentials,
				`status "invalid_token", scope "mail.send", configuration "https://example.com/.well-known/openid-configuration"`},
			{"E11 a second challenge is not answered", try("token1") + report(invalid) + "S: 334\nC: *\nS: 501 ok", []string{"token1"}, []string{""}, nil, "unexpected challenge"},
			{"R10 a fresh token is tried once", try("token1") + report(invalid) + "S: 535 no\n" + try("token2") + "S: 235 ok", []string{"token1", "token2"}, []string{"", "token1"}, nil, ""},
			{"R10 also without a report", try("token1") + "S: 535 no\n" + try("token2") + "S: 235 ok", []string{"token1", "token2"}, []string{"", "token1"}, nil, ""},
			{"R10 also if the report is broken", try("token1") + report(`{"status":`) + "S: 535 no\n" + try("token2") + "S: 235 ok", []string{"token1", "token2"}, []string{"", "token1"}, nil, ""},
			{"R10 also if the refusal is not 535", try("token1") + report(invalid) + "S: 550 no\n" + try("token2") + "S: 235 ok", []string{"token1", "token2"}, []string{"", "token1"}, nil, ""},
			{"R10 the second refusal is the last", try("token1") + "S: 535 no\n" + try("token2") + report(invalid) + "S: 535 again", []string{"token1", "token2", "token3"}, []string{"", "token1"}, core.ErrCredentials, "again"},
			{"the same token is not tried again", try("token1") + "S: 535 no", []string{"token1"}, []string{"", "token1"}, core.ErrCredentials, "check that the token"},
			{"RFC 6750 §3.1 another token has no other scope", try("token1") + report(`{"status":"insufficient_scope","scope":"x"}`) + "S: 535 no", []string{"token1", "token2"}, []string{""}, core.ErrCredentials, `scope "x"`},
			{"E7 a temporary failure is not the token's", try("token1") + report(invalid) + "S: 454 later", []string{"token1", "token2"}, []string{""}, core.ErrAuthentication, "invalid_token"},
			{"E7 the mechanism is refused", try("token1") + "S: 504 no", []string{"token1", "token2"}, []string{""}, core.ErrMechanismRefused, ""},
			{"the end of the session is no reason to ask again", try("token1") + "S: 421 bye\nHANG", []string{"token1", "token2"}, []string{""}, core.ErrDisconnected, ""},
			{"a broken report is no failure of its own", try("token1") + report("]") + "S: 535 no", []string{"token1"}, []string{"", "token1"}, core.ErrCredentials, "no"},
			{"a report that says nothing is left out", try("token1") + report("{}") + "S: 535 no", []string{"token1"}, []string{"", "token1"}, core.ErrCredentials, "accept the credentials: 535 no"},
			{"an empty report is none either", try("token1") + "S: 334\nC: " + b.goOn + "\nS: 535 no", []string{"token1"}, []string{"", "token1"}, core.ErrCredentials, "no"},
		} {
			t.Run(b.name+" "+tt.rule, func(t *testing.T) {
				source := &tokens{list: tt.list}
				err := auth(t, b.new("ann", source.token), tt.dialogue)
				switch {
				case tt.kind == nil && tt.says == "":
					if err != nil {
						t.Error(err)
					}
				case err == nil || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says):
					t.Errorf("got %v, want %v with %q", err, tt.kind, tt.says)
				case strings.Contains(err.Error(), "token1"):
					t.Errorf("the error shows the token: %v", err)
				}
				source.wasAskedWith(t, tt.asked...)
			})
		}
	}
}

// E5: a response that does not fit the command waits for a challenge.
func TestBearer_longToken_E5(t *testing.T) {
	token := strings.Repeat("t", 2000)
	for _, b := range bearers {
		dialogue := "C: AUTH " + b.name + "\nS: 334\nC: " + base64Of(b.message(token)) + "\n"
		if err := auth(t, b.new("ann", mechanisms.StaticToken(token)), dialogue+"S: 235 ok"); err != nil {
			t.Error(b.name, err)
		}
		err := auth(t, b.new("ann", mechanisms.StaticToken(token)), dialogue+"S: 334 "+base64Of(`{"status":"invalid_token"}`)+"\nC: "+b.goOn+"\nS: 535 no")
		if _, ok := errors.AsType[*mechanisms.TokenError](err); !ok {
			t.Error(b.name, err)
		}
	}
}

// RFC 7628 §3.2.2, E11: the server's report, of which nothing is believed but
// that it is text.
func TestTokenError_RFC7628_3_2_2(t *testing.T) {
	const token = "ya29.secret-token"
	message := bearers[0].message(token)
	for _, tt := range []struct {
		rule, report string
		want         mechanisms.TokenError
	}{
		{"RFC 7628 §4.3", `{"status":"invalid_token","scope":"example_scope","openid-configuration":"https://example.com/.well-known/openid-config"}`,
			mechanisms.TokenError{Status: "invalid_token", Scope: "example_scope", Configuration: "https://example.com/.well-known/openid-config"}},
		{"RFC 7628 §4.4, with a field that is not known", `{"status":"invalid_token","schemes":"bearer mac","scope":"https://mail.example.com/"}`,
			mechanisms.TokenError{Status: "invalid_token", Scope: "https://mail.example.com/"}},
		{"a status that is a number", `{"status":401,"scope":null}`, mechanisms.TokenError{Status: "401"}},
		{"fields of other types are left out", `{"status":"s","scope":["x"],"openid-configuration":{"a":1}}`, mechanisms.TokenError{Status: "s"}},
		{"control characters are replaced", `{"status":"a\r\n250 ok\u001b[2J\u202eb"}`, mechanisms.TokenError{Status: "a??250 ok?[2J?b"}},
		{"200 octets at most, and no broken character", `{"status":"` + strings.Repeat("ż", 500) + `","scope":"x` + strings.Repeat("ż", 500) + `"}`,
			mechanisms.TokenError{Status: strings.Repeat("ż", 100), Scope: "x" + strings.Repeat("ż", 99)}},
		{"E13 the token never", `{"status":"no ` + token + `","scope":"` + base64Of(token) + `","openid-configuration":"https://x/?` + base64Of(message) + `"}`,
			mechanisms.TokenError{Status: "no [redacted]", Scope: "[redacted]", Configuration: "https://x/?[redacted]"}},
		{"E13 no beginning of it either", `{"status":"` + strings.Repeat("x", 195) + token + `"}`, mechanisms.TokenError{Status: strings.Repeat("x", 195) + "[reda"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			err := auth(t, mechanisms.OAuthBearer("ann", mechanisms.StaticToken(token)),
				"C: AUTH OAUTHBEARER "+base64Of(message)+"\nS: 334 "+base64Of(tt.report)+"\nC: AQ==\nS: 535 no")
			e, ok := errors.AsType[*mechanisms.TokenError](err)
			if !ok || *e != tt.want {
				t.Errorf("got %#v, want %#v; %v", e, tt.want, err)
			}
			if strings.Contains(err.Error(), token) || strings.ContainsAny(err.Error(), "\r\n\x1b") {
				t.Errorf("the error shows too much: %v", err)
			}
		})
	}
}

func TestBearer_refusesTokens(t *testing.T) {
	for _, tt := range []struct {
		rule, says string
		token      *oauth2.Token
	}{
		{"none at all", "no token", nil},
		{"an empty one", "no token", &oauth2.Token{}},
		{"one of another type", `"MAC"`, &oauth2.Token{AccessToken: "hunter2", TokenType: "mac"}},
		{"one of an unknown type", `"dpop"`, &oauth2.Token{AccessToken: "hunter2", TokenType: "dpop"}},
		{"RFC 6750 §2.1 a line end", "line end", &oauth2.Token{AccessToken: "hunter2\n"}},
		{"RFC 6750 §2.1 a space", "space", &oauth2.Token{AccessToken: "hunter2 x"}},
		{"RFC 6750 §2.1 what separates the fields", "character", &oauth2.Token{AccessToken: "hunter2\x01auth=x"}},
		{"RFC 6750 §2.1 not ASCII", "character", &oauth2.Token{AccessToken: "hunter2ż"}},
	} {
		for _, b := range bearers {
			t.Run(b.name+" "+tt.rule, func(t *testing.T) {
				m := b.new("ann", func(context.Context, string) (*oauth2.Token, error) { return tt.token, nil })
				err := auth(t, m, "") // nothing is written
				if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") || core.ClassOf(err) != core.Local {
					t.Errorf("got %v", err)
				}
			})
		}
	}
	for _, b := range bearers {
		bearer := func(context.Context, string) (*oauth2.Token, error) {
			return &oauth2.Token{AccessToken: "token1", TokenType: "bearer", Expiry: time.Unix(1, 0)}, nil
		}
		a, _, err := b.new("ann", bearer).Start(t.Context(), &core.Peer{})
		if err != nil {
			t.Fatal("a token that has expired is the server's to refuse:", err)
		}
		if got := a.(core.Expirer).Expires(); !got.Equal(time.Unix(1, 0)) {
			t.Errorf("it expires at %v", got)
		}
	}
}

func TestBearer_sourceFails(t *testing.T) {
	own := errors.New("no answer from the vault")
	for _, tt := range []struct {
		rule  string
		err   error
		class core.Class
	}{
		{"an error is temporary by nature", own, core.Temporary},
		{"but if it says what it is", fmt.Errorf("wrapped: %w", &core.Error{Stage: core.StageAuth, Class: core.Local, Err: own}), core.Local},
	} {
		for _, b := range bearers {
			t.Run(b.name+" "+tt.rule, func(t *testing.T) {
				m := b.new("ann", func(context.Context, string) (*oauth2.Token, error) { return nil, tt.err })
				err := auth(t, m, "")
				if !errors.Is(err, own) || core.ClassOf(err) != tt.class || !strings.Contains(err.Error(), b.name+": no token") {
					t.Errorf("got %v, %v", err, core.ClassOf(err))
				}
			})
			t.Run(b.name+" after a refusal, "+tt.rule, func(t *testing.T) {
				source := &tokens{list: []string{"token1"}, err: tt.err}
				err := auth(t, b.new("ann", source.token), "C: AUTH "+b.name+" "+base64Of(b.message("token1"))+"\nS: 535 no")
				if !errors.Is(err, own) || !errors.Is(err, core.ErrCredentials) || core.ClassOf(err) != tt.class {
					t.Errorf("got %v, %v", err, core.ClassOf(err))
				}
			})
		}
	}
}

func TestBearer_check(t *testing.T) {
	source := mechanisms.StaticToken("token1")
	for _, b := range bearers {
		for rule, m := range map[string]core.Mechanism{
			"no source":                b.new("ann", nil),
			"a user that is not UTF-8": b.new("\xff", source),
			"what separates fields":    b.new("ann\x01auth=x", source),
			"a line end":               b.new("ann\r\n", source),
		} {
			a, _, err := m.Start(t.Context(), &core.Peer{})
			if checked := m.(core.Checker).Check(); a != nil || err == nil || checked == nil {
				t.Errorf("%s, %s: %v, %v", b.name, rule, err, checked)
			}
		}
		if k, ok := b.new("ann", source).(core.SecretKeeper); ok && k.KeepsSecret() {
			t.Errorf("%s says that it keeps its secret", b.name)
		}
	}
	if err := mechanisms.XOAuth2("", source).(core.Checker).Check(); err == nil {
		t.Error("XOAUTH2 without a user passes")
	}
}

// E1: a token is a reusable secret, and RFC 7628 §3 wants TLS for it.
func TestBearer_isNotUsedInClearText_E1(t *testing.T) {
	for _, b := range bearers {
		config := smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 AUTH "+b.name, smtptest.Options{Remote: true}).Config()
		config.TLSPolicy = core.TLSOff
		s, err := core.Dial(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Auth(t.Context(), b.new("ann", mechanisms.StaticToken("token1"))); !errors.Is(err, core.ErrTLSRequired) {
			t.Errorf("%s: %v", b.name, err)
		}
	}
}

// Many sessions are refused at once: each one goes on with the token that it got
// then, and does not ask a third time.
func TestBearer_severalSessions(t *testing.T) {
	for _, b := range bearers {
		var mu sync.Mutex
		asked := 0
		m := b.new("ann", func(_ context.Context, refused string) (*oauth2.Token, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			if refused == "" {
				return &oauth2.Token{AccessToken: "stale"}, nil
			}
			return &oauth2.Token{AccessToken: fmt.Sprintf("fresh%d", asked)}, nil
		})
		var running sync.WaitGroup
		used := make([]string, 8)
		for i := range used {
			running.Go(func() {
				peer := &core.Peer{ServerName: "server.example"}
				a, initial, err := m.Start(context.Background(), peer)
				if err != nil || string(initial) != b.message("stale") {
					t.Errorf("%q, %v", initial, err)
					return
				}
				other := a.(core.RefusalHandler).Refused(context.Background(), &core.Error{Class: core.Permanent, Err: core.ErrCredentials})
				if other == nil {
					t.Error("a fresh token is not tried")
					return
				}
				if _, initial, err = other.Start(context.Background(), peer); err != nil {
					t.Error(err)
				}
				used[i] = string(initial)
			})
		}
		running.Wait()
		seen := map[string]bool{}
		for _, message := range used {
			seen[message] = true
		}
		if len(seen) != len(used) || asked != 2*len(used) {
			t.Errorf("%s: %d different tokens in %d sessions, and the source was asked %d times", b.name, len(seen), len(used), asked)
		}
	}
}

// E13.
func TestBearer_isPrintedWithoutItsToken_E13(t *testing.T) {
	for _, b := range bearers {
		m := b.new("ann", mechanisms.StaticToken("hunter2"))
		peer := &core.Peer{}
		a, _, err := m.Start(t.Context(), peer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Next(t.Context(), []byte(`{"status":"hunter2"}`)); err != nil {
			t.Fatal(err)
		}
		// One that keeps a fresh token for its second run.
		source := &tokens{list: []string{"token1", "hunter2"}}
		refused := b.new("ann", source.token)
		r, _, err := refused.Start(t.Context(), peer)
		if err != nil {
			t.Fatal(err)
		}
		other := r.(core.RefusalHandler).Refused(t.Context(), &core.Error{Class: core.Permanent, Err: core.ErrCredentials})
		if other == nil {
			t.Fatal("no fresh token")
		}
		for _, v := range []any{m, refused, other, struct{ m core.Mechanism }{refused}, []core.Mechanism{refused}, core.Config{Auth: []core.Mechanism{m}}, a, struct{ a core.Authentication }{a}, &a} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(strings.ToLower(got), "68756e74657232") {
					t.Errorf("%s of %T: %s", verb, v, got)
				}
			}
		}
		if got := fmt.Sprintf("%v %+v %#v", m, m, m); got != b.name+" "+b.name+" "+b.name {
			t.Error(got)
		}
	}
}

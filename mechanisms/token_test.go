package mechanisms_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
)

// An application that has been granted access keeps the refresh token. The
// access token is got when it is needed, and shared by all sessions.
func ExampleRefreshed() {
	consent := &oauth2.Config{
		ClientID:     "mailer",
		ClientSecret: "from the provider's console",
		Endpoint:     oauth2.Endpoint{TokenURL: "https://login.example.com/token"},
	}
	tokens := mechanisms.Refreshed(consent, &oauth2.Token{RefreshToken: "from the database"})
	config := core.Config{
		Endpoint:   "smtps://mail.example.com",
		Transports: transport.Standard(),
		Auth: []core.Mechanism{
			mechanisms.OAuthBearer("alice@example.com", tokens),
			mechanisms.XOAuth2("alice@example.com", tokens),
		},
	}
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(config.Auth)

	// Output:
	// [OAUTHBEARER XOAUTH2]
}

// endpoint is an OAuth token endpoint: its replies, and what it was asked.
type endpoint struct {
	*httptest.Server
	mu      sync.Mutex
	replies []reply // the last one for ever
	asked   []url.Values
}

type reply struct {
	status int
	kind   string // Content-Type; JSON if empty
	body   string
}

// gives is the reply with an access token. refresh is a refresh token, or "".
func gives(access, refresh string, seconds int) reply {
	body := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d`, access, seconds)
	if refresh != "" {
		body += fmt.Sprintf(`,"refresh_token":%q`, refresh)
	}
	return reply{200, "", body + "}"}
}

func newEndpoint(t *testing.T, replies ...reply) *endpoint {
	t.Helper()
	e := &endpoint{replies: replies}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = r.ParseForm()
	e.asked = append(e.asked, r.PostForm)
	answer := e.replies[min(len(e.asked), len(e.replies))-1]
	kind := answer.kind
	if kind == "" {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(answer.status)
	_, _ = w.Write([]byte(answer.body))
}

// source returns the source for the endpoint.
func (e *endpoint) source(token oauth2.Token) mechanisms.TokenSource {
	source := mechanisms.Refreshed(e.config(), &token)
	token = oauth2.Token{} // the caller's, which is not looked at any more
	return func(ctx context.Context, refused string) (*oauth2.Token, error) {
		return source(context.WithValue(ctx, oauth2.HTTPClient, e.Client()), refused)
	}
}

func (e *endpoint) config() *oauth2.Config {
	return &oauth2.Config{ClientID: "mailer", ClientSecret: "client-sesame", Endpoint: oauth2.Endpoint{TokenURL: e.URL, AuthStyle: oauth2.AuthStyleInParams}}
}

// refreshTokens are those that the endpoint was shown.
func (e *endpoint) refreshTokens() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var shown []string
	for _, form := range e.asked {
		if form.Get("grant_type") == "refresh_token" { // RFC 6749 §6
			shown = append(shown, form.Get("refresh_token"))
		}
	}
	return shown
}

func TestRefreshed(t *testing.T) {
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	type call struct{ refused, want string }
	for _, tt := range []struct {
		rule    string
		first   oauth2.Token
		replies []reply
		calls   []call
		shown   []string // refresh tokens
	}{
		{"a token that is good is kept", oauth2.Token{AccessToken: "A1", RefreshToken: "R1", Expiry: future}, nil,
			[]call{{"", "A1"}, {"", "A1"}}, nil},
		{"so is one that never expires", oauth2.Token{AccessToken: "A1", RefreshToken: "R1"}, nil,
			[]call{{"", "A1"}, {"", "A1"}}, nil},
		{"one that has expired is refreshed", oauth2.Token{AccessToken: "A1", RefreshToken: "R1", Expiry: past}, []reply{gives("A2", "", 3600)},
			[]call{{"", "A2"}, {"", "A2"}}, []string{"R1"}},
		{"a refresh token alone will do", oauth2.Token{RefreshToken: "R1"}, []reply{gives("A1", "", 3600)},
			[]call{{"", "A1"}, {"", "A1"}}, []string{"R1"}},
		{"one that was refused is refreshed", oauth2.Token{AccessToken: "A1", RefreshToken: "R1", Expiry: future}, []reply{gives("A2", "", 3600)},
			[]call{{"", "A1"}, {"A1", "A2"}, {"", "A2"}}, []string{"R1"}},
		{"but not for whoever had it before the others", oauth2.Token{AccessToken: "A1", RefreshToken: "R1", Expiry: future}, []reply{gives("A2", "", 3600)},
			[]call{{"A1", "A2"}, {"A1", "A2"}, {"A0", "A2"}}, []string{"R1"}},
		{"a refresh token is kept if there is no other (RFC 6749 §6)", oauth2.Token{RefreshToken: "R1"}, []reply{gives("A1", "", 3600), gives("A2", "", 3600)},
			[]call{{"", "A1"}, {"A1", "A2"}}, []string{"R1", "R1"}},
		{"and replaced if there is one (RFC 6749 §6)", oauth2.Token{RefreshToken: "R1"}, []reply{gives("A1", "R2", 3600), gives("A2", "R3", 3600), gives("A3", "", 3600), gives("A4", "", 3600)},
			[]call{{"", "A1"}, {"A1", "A2"}, {"A2", "A3"}, {"A3", "A4"}}, []string{"R1", "R2", "R3", "R3"}},
		{"a token that is about to expire is used once", oauth2.Token{RefreshToken: "R1"}, []reply{gives("A1", "", 5), gives("A2", "", 5)},
			[]call{{"", "A1"}, {"", "A2"}}, []string{"R1", "R1"}},
		{"without a refresh token there is nothing else to offer", oauth2.Token{AccessToken: "A1", Expiry: future}, nil,
			[]call{{"", "A1"}, {"A1", "A1"}}, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			e := newEndpoint(t, tt.replies...)
			source := e.source(tt.first)
			for n, c := range tt.calls {
				token, err := source(t.Context(), c.refused)
				if err != nil {
					t.Fatalf("call %d: %v", n+1, err)
				}
				if token.AccessToken != c.want {
					t.Errorf("call %d with %q: got %s, want %s", n+1, c.refused, token.AccessToken, c.want)
				}
				*token = oauth2.Token{} // it belongs to the caller
			}
			if got := e.refreshTokens(); !slices.Equal(got, tt.shown) {
				t.Errorf("the endpoint was shown %q, want %q", got, tt.shown)
			}
		})
	}
}

// 20 sessions whose token was refused at once make one request.
func TestRefreshed_severalSessions(t *testing.T) {
	e := newEndpoint(t, gives("A2", "R2", 3600))
	source := e.source(oauth2.Token{AccessToken: "A1", RefreshToken: "R1", Expiry: time.Now().Add(time.Hour)})
	var running sync.WaitGroup
	for range 20 {
		running.Go(func() {
			token, err := source(t.Context(), "A1")
			if err != nil || token.AccessToken != "A2" || token.RefreshToken != "R2" {
				t.Error(token, err)
			}
		})
	}
	running.Wait()
	if got := e.refreshTokens(); !slices.Equal(got, []string{"R1"}) {
		t.Errorf("the endpoint was shown %q", got)
	}
}

// roundTrip is an endpoint in a bubble of testing/synctest.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A session that leaves does not take the request of the others with it, whose
// refresh token may be spent.
func TestRefreshed_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan bool)
		asked := 0
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked++
			select {
			case <-goOn:
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
			w := httptest.NewRecorder()
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.WriteString(gives("A1", "R2", 3600).body)
			return w.Result(), nil
		})}
		source := mechanisms.Refreshed(&oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: "http://127.0.0.1/", AuthStyle: oauth2.AuthStyleInParams}}, &oauth2.Token{RefreshToken: "R1"})
		base := context.WithValue(t.Context(), oauth2.HTTPClient, client)

		leaving, leave := context.WithCancel(base)
		left := make(chan error)
		go func() {
			_, err := source(leaving, "")
			left <- err
		}()
		synctest.Wait()
		got := make(chan *oauth2.Token)
		go func() {
			token, _ := source(base, "")
			got <- token
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error("the one that left:", err)
		}
		goOn <- true
		if token := <-got; token == nil || token.AccessToken != "A1" || token.RefreshToken != "R2" || asked != 1 {
			t.Errorf("the one that stayed: %v after %d requests", token, asked)
		}

		began := time.Now()
		_, err := source(base, "A1")
		if took := time.Since(began); took != time.Minute || core.ClassOf(err) != core.Temporary || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an endpoint that says nothing: %v after %v", err, took)
		}
		if _, err := source(leaving, "A1"); !errors.Is(err, context.Canceled) || asked != 2 {
			t.Errorf("a context that had ended before: %v after %d requests", err, asked)
		}
	})
}

func TestRefreshed_errors(t *testing.T) {
	const leak = `"access_token":"open-sesame","refresh_token":"refresh-sesame"`
	for _, tt := range []struct {
		rule  string
		reply reply
		class core.Class
		text  string
	}{
		{"the code and the description are shown (RFC 6749 §5.2)", reply{400, "", `{"error":"invalid_grant","error_description":"expired or revoked",` + leak + `}`}, core.Local, "invalid_grant: expired or revoked"},
		{"the code alone", reply{401, "", `{"error":"invalid_client",` + leak + `}`}, core.Local, "invalid_client"},
		{"a description that repeats what was sent", reply{400, "", `{"error":"invalid_grant","error_description":"refresh-sesame& of client-sesame is bad, or refresh-sesame%26"}`}, core.Local, "[redacted] of [redacted] is bad, or [redacted]"},
		{"an error with status 200, as some have it", reply{200, "", `{"error":"invalid_grant",` + leak + `}`}, core.Local, "invalid_grant"},
		{"an error in a form", reply{400, "application/x-www-form-urlencoded", "error=invalid_scope&access_token=open-sesame"}, core.Local, "invalid_scope"},
		{"a status without an error", reply{403, "text/html", "<p>open-sesame"}, core.Local, "403 Forbidden"},
		{"429 is temporary", reply{429, "", `{` + leak + `}`}, core.Temporary, "429 Too Many Requests"},
		{"5xx is temporary", reply{503, "text/html", "open-sesame"}, core.Temporary, "503 Service Unavailable"},
		{"temporarily_unavailable is temporary", reply{400, "", `{"error":"temporarily_unavailable"}`}, core.Temporary, "temporarily_unavailable"},
		{"what is not JSON may be from somebody else", reply{200, "", "<title>open-sesame"}, core.Temporary, "not refreshed"},
		{"a reply without a token", reply{200, "", `{"refresh_token":"open-sesame"}`}, core.Temporary, "missing access_token"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			e := newEndpoint(t, tt.reply, gives("A2", "", 3600))
			source := e.source(oauth2.Token{AccessToken: "access-sesame", RefreshToken: "refresh-sesame&", Expiry: time.Now().Add(time.Hour)})
			token, err := source(t.Context(), "access-sesame")
			if token != nil {
				t.Error("a token came with the error")
			}
			fails(t, err, tt.class, tt.text)
			if token, err := source(t.Context(), "access-sesame"); err != nil || token.AccessToken != "A2" {
				t.Errorf("the next request: %v", err)
			}
		})
	}
	t.Run("an endpoint that is not there", func(t *testing.T) {
		e := newEndpoint(t)
		e.Close()
		e.URL += "/?code=open-sesame"
		_, err := e.source(oauth2.Token{RefreshToken: "refresh-sesame"})(t.Context(), "")
		fails(t, err, core.Temporary, "refused")
	})
	t.Run("an HTTP client that repeats what was sent", func(t *testing.T) {
		client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("no proxy for refresh-sesame")
		})}
		source := mechanisms.Refreshed(&oauth2.Config{Endpoint: oauth2.Endpoint{TokenURL: "http://127.0.0.1/"}}, &oauth2.Token{RefreshToken: "refresh-sesame"})
		_, err := source(context.WithValue(t.Context(), oauth2.HTTPClient, client), "")
		fails(t, err, core.Temporary, "no proxy for [redacted]")
	})
	for rule, source := range map[string]mechanisms.TokenSource{
		"no refresh token":                    mechanisms.Refreshed(&oauth2.Config{}, &oauth2.Token{AccessToken: "open-sesame", Expiry: time.Unix(1, 0)}),
		"the configuration or the token":      mechanisms.Refreshed(nil, &oauth2.Token{RefreshToken: "open-sesame"}),
		"the token given to":                  mechanisms.Refreshed(&oauth2.Config{ClientSecret: "open-sesame"}, nil),
		"mechanisms.Tokens is nil":            mechanisms.Tokens(nil),
		"token has expired, or there is none": mechanisms.Refreshed(&oauth2.Config{}, &oauth2.Token{}),
	} {
		_, err := source(t.Context(), "")
		fails(t, err, core.Local, rule)
	}
}

func TestTokenSources_arePrintedWithoutTheirTokens_E13(t *testing.T) {
	token := &oauth2.Token{AccessToken: "open-sesame", RefreshToken: "open-sesame"}
	showsNoSecret(t, mechanisms.StaticToken("open-sesame"), mechanisms.Tokens(oauth2.StaticTokenSource(token)),
		mechanisms.Refreshed(&oauth2.Config{ClientSecret: "open-sesame"}, token), mechanisms.XOAuth2("u", mechanisms.StaticToken("open-sesame")))
}

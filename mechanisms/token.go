package mechanisms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
)

// TokenSource returns the access token to authenticate with. It is asked for
// each physical connection, with its context. refused is the access token that
// a server has just refused, or "": a source that can gets a fresh one then, and
// one that cannot returns the token that it has. It is called by several
// sessions at once. What it returns belongs to the caller.
//
// Any function of this form is one. Its errors must not hold a secret. One that
// is not a [*core.Error] is taken for temporary.
type TokenSource func(ctx context.Context, refused string) (*oauth2.Token, error)

// StaticToken returns a source that always has the same access token.
func StaticToken(accessToken string) TokenSource {
	return func(context.Context, string) (*oauth2.Token, error) {
		return &oauth2.Token{AccessToken: accessToken}, nil
	}
}

// Tokens returns a source that asks one of the package oauth2: that of a service
// account, or of clientcredentials, say. To keep a token until it expires is
// src's part, as oauth2.ReuseTokenSource does it; no src can be told that a
// token was refused. [Refreshed] can.
//
// An oauth2.TokenSource knows no context. So src is asked in a goroutine of its
// own, on behalf of all sessions that wait at that time: one whose context ends
// leaves, and the goroutine ends when src returns.
func Tokens(src oauth2.TokenSource) TokenSource {
	shared := &sharedTokens{ask: func(context.Context, *oauth2.Token) (*oauth2.Token, error) {
		if src == nil {
			return nil, localError("the oauth2.TokenSource given to mechanisms.Tokens is nil", "give it one")
		}
		token, err := src.Token()
		return token, shownError(err)
	}}
	return func(ctx context.Context, _ string) (*oauth2.Token, error) {
		return shared.token(ctx, func(*oauth2.Token) bool { return false })
	}
}

// refreshTimeout bounds one request to the token endpoint.
const refreshTimeout = time.Minute

// Refreshed returns a source that keeps one token for all sessions. It gets
// another one by the refresh token (RFC 6749 §6) when the token has expired, and
// when it is the one that a server refused: once, however many sessions were
// refused with it. If the endpoint gives out another refresh token with it, that
// is used from then on; it is in the token that the source returns, for a
// function around this source that stores it. token may have nothing but a
// refresh token. config must not be changed any more.
//
// A session whose context ends while a request is under way leaves; the request
// goes on, for the refresh token may be spent already, for a minute at the
// longest. It is made with the values of that context, among them the HTTP
// client that it may hold as oauth2.HTTPClient.
//
// A refusal by the endpoint is a local error, since someone must consent again
// or correct the configuration; any other failure is temporary. Of a refusal the
// error shows the code and the description (RFC 6749 §5.2), and no token.
func Refreshed(config *oauth2.Config, token *oauth2.Token) TokenSource {
	if config == nil || token == nil {
		return func(context.Context, string) (*oauth2.Token, error) {
			return nil, localError("the configuration or the token given to mechanisms.Refreshed is nil", "give it both; the token may have nothing but a refresh token")
		}
	}
	first := *token
	shared := &sharedTokens{last: &first, ask: func(ctx context.Context, last *oauth2.Token) (*oauth2.Token, error) {
		return refresh(ctx, config, last)
	}}
	return func(ctx context.Context, refused string) (*oauth2.Token, error) {
		return shared.token(ctx, func(last *oauth2.Token) bool {
			return last.Valid() && (last.AccessToken != refused || last.RefreshToken == "")
		})
	}
}

// refresh gets the token that follows the last one.
func refresh(ctx context.Context, config *oauth2.Config, last *oauth2.Token) (*oauth2.Token, error) {
	if last.RefreshToken == "" {
		return nil, localError("the access token has expired, or there is none, and there is no refresh token", "get a token with a refresh token: many services want the scope offline_access for that")
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	// Given no access token, what TokenSource returns has none to keep.
	token, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: last.RefreshToken}).Token()
	if err == nil {
		return token, nil
	}
	err = shownError(err, last.RefreshToken, last.AccessToken, config.ClientSecret)
	if _, ok := errors.AsType[*core.Error](err); ok {
		return nil, err
	}
	return nil, &core.Error{Stage: core.StageAuth, Class: core.Temporary, Err: fmt.Errorf("the access token was not refreshed: %w", err)}
}

// sharedTokens asks for a token once for all sessions that wait for one.
type sharedTokens struct {
	ask func(ctx context.Context, last *oauth2.Token) (*oauth2.Token, error)

	mu      sync.Mutex
	last    *oauth2.Token // what was got last, or nil; replaced and never changed
	request *tokenRequest // the one under way, or nil
}

// tokenRequest is one call of ask. Its result may be read when done is closed.
type tokenRequest struct {
	done  chan struct{}
	token *oauth2.Token
	err   error
}

// token returns the last token if that is good, and otherwise another one.
func (s *sharedTokens) token(ctx context.Context, good func(last *oauth2.Token) bool) (*oauth2.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.last != nil && good(s.last) {
		own := *s.last
		s.mu.Unlock()
		return &own, nil
	}
	request := s.request
	if request == nil {
		request = &tokenRequest{done: make(chan struct{}), err: errNoToken}
		s.request = request
		// The others wait for it too, and one session's end is not theirs.
		go s.run(context.WithoutCancel(ctx), request, s.last)
	}
	s.mu.Unlock()
	select {
	case <-request.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if request.err != nil {
		return nil, request.err
	}
	own := *request.token
	return &own, nil
}

var errNoToken = errors.New("the token source returned no access token, and no error")

// run makes the request. A panic of ask is contained, as the core would do it:
// no one else could, in a goroutine of its own.
func (s *sharedTokens) run(ctx context.Context, request *tokenRequest, last *oauth2.Token) {
	defer func() {
		if v := recover(); v != nil {
			request.err = &core.PanicError{Where: "a token source", Value: v, Stack: debug.Stack()}
		}
		s.mu.Lock()
		if request.err == nil {
			s.last = request.token
		}
		s.request = nil
		s.mu.Unlock()
		close(request.done)
	}()
	token, err := s.ask(ctx, last)
	if err == nil && (token == nil || token.AccessToken == "") {
		return
	}
	request.token, request.err = token, err
}

// shownError returns the error of a token source without what must not be seen:
// that of package oauth2 for a refusal has the endpoint's reply in it, and a
// description may repeat what was sent.
func shownError(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	hide := func(s string) string {
		for _, secret := range secrets {
			if secret != "" {
				s = strings.NewReplacer(secret, "[redacted]", url.QueryEscape(secret), "[redacted]").Replace(s)
			}
		}
		return s
	}
	refusal, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		if e, ok := errors.AsType[*url.Error](err); ok { // its URL may have a key in its query
			err = fmt.Errorf("the token endpoint cannot be reached: %w", e.Err)
		}
		if text := err.Error(); hide(text) != text {
			return errors.New(hide(text))
		}
		return err
	}
	status, code := "no reply", 0
	if refusal.Response != nil {
		status, code = refusal.Response.Status, refusal.Response.StatusCode
	}
	shown := &core.Error{Stage: core.StageAuth, Class: core.Local, Hint: "the access must be granted again, or the client's configuration is wrong"}
	// temporarily_unavailable is of RFC 6749 §4.1.2.1, and some use it here.
	if code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || refusal.ErrorCode == "temporarily_unavailable" {
		shown.Class, shown.Hint = core.Temporary, ""
	}
	switch {
	case refusal.ErrorCode == "":
		shown.Err = fmt.Errorf("the token endpoint answered %s", hide(status))
	case refusal.ErrorDescription == "":
		shown.Err = fmt.Errorf("the token endpoint refused: %s", hide(refusal.ErrorCode))
	default:
		shown.Err = fmt.Errorf("the token endpoint refused: %s: %s", hide(refusal.ErrorCode), hide(refusal.ErrorDescription))
	}
	return shown
}

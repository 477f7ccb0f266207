package mechanisms_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// sourceFunc is an oauth2.TokenSource.
type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

func TestTokens(t *testing.T) {
	asked := 0
	source := mechanisms.Tokens(sourceFunc(func() (*oauth2.Token, error) {
		asked++
		return &oauth2.Token{AccessToken: fmt.Sprint("A", asked), Expiry: time.Unix(1, 0)}, nil
	}))
	for _, want := range []string{"A1", "A2"} {
		token, err := source(t.Context(), "")
		if err != nil || token.AccessToken != want || !token.Expiry.Equal(time.Unix(1, 0)) {
			t.Error(token, err)
		}
	}
	t.Run("what is returned belongs to the caller", func(t *testing.T) {
		source := mechanisms.Tokens(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "A1"}))
		for range 2 {
			token, err := source(t.Context(), "A1")
			if err != nil || token.AccessToken != "A1" {
				t.Fatal(token, err)
			}
			*token = oauth2.Token{}
		}
	})
}

// The caller leaves when its context ends; the goroutine when the source
// returns, and until then it is the only one.
func TestTokens_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan bool)
		var asked atomic.Int32
		source := mechanisms.Tokens(sourceFunc(func() (*oauth2.Token, error) {
			asked.Add(1)
			<-goOn
			return &oauth2.Token{AccessToken: "A1"}, nil
		}))
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			began := time.Now()
			if _, err := source(ctx, ""); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
				t.Error(err, time.Since(began))
			}
			cancel()
		}
		var running sync.WaitGroup
		for range 20 {
			running.Go(func() {
				if token, err := source(t.Context(), ""); err != nil || token.AccessToken != "A1" {
					t.Error(token, err)
				}
			})
		}
		synctest.Wait()
		goOn <- true
		running.Wait()
		if asked.Load() != 1 {
			t.Errorf("the source was asked %d times", asked.Load())
		}
	})
}

func TestTokens_errors(t *testing.T) {
	own := errors.New("the vault is sealed")
	for _, tt := range []struct {
		rule  string
		token *oauth2.Token
		err   error
		kind  error
		text  string
	}{
		{"an error is returned as it is", nil, own, own, "the vault is sealed"},
		{"the one of the package oauth2 is not shown whole", nil, fmt.Errorf("vault: %w", &oauth2.RetrieveError{Response: &http.Response{Status: "400 Bad Request", StatusCode: 400}, Body: []byte("open-sesame")}), nil, "400 Bad Request"},
		{"even if it is one without a reply", nil, &oauth2.RetrieveError{Body: []byte("open-sesame")}, nil, "no reply"},
		{"no token and no error", nil, nil, nil, "no access token"},
		{"an empty token", &oauth2.Token{}, nil, nil, "no access token"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			source := mechanisms.Tokens(sourceFunc(func() (*oauth2.Token, error) { return tt.token, tt.err }))
			token, err := source(t.Context(), "")
			if token != nil || err == nil || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
				t.Error(token, err)
			}
			showsNoSecret(t, err)
		})
	}
	t.Run("a panic is contained", func(t *testing.T) {
		source := mechanisms.Tokens(sourceFunc(func() (*oauth2.Token, error) { panic(own) }))
		for range 2 {
			_, err := source(t.Context(), "")
			if p, ok := errors.AsType[*core.PanicError](err); !ok || p.Value != own {
				t.Error(err)
			}
		}
	})
}

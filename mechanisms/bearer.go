package mechanisms

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
)

// bearer is a mechanism that shows a bearer token.
type bearer struct {
	name        string
	credentials func() (user string, tokens TokenSource)
	needsUser   bool
	message     func(user, token string, peer *core.Peer) []byte // the initial response
	goOn        string                                           // the answer to a report of failure, which the refusal follows
	fresh       accessToken                                      // the token to use, because another one was refused; nil to ask for one
}

func (b *bearer) Name() string { return b.name }

// String keeps the user out of whatever prints the mechanism.
func (b *bearer) String() string { return b.name }

// GoString is String, for %#v.
func (b *bearer) GoString() string { return b.name }

// Check implements [core.Checker]. The source is not asked.
func (b *bearer) Check() error {
	user, tokens := b.credentials()
	switch {
	case tokens == nil:
		return errors.New("the token source is nil")
	case user == "" && b.needsUser:
		return fmt.Errorf("the user name is empty, and %s needs one", b.name)
	case !utf8.ValidString(user) || strings.ContainsFunc(user, unicode.IsControl):
		return fmt.Errorf("the user name holds a control character or is not UTF-8, and %s can carry neither", b.name)
	}
	return nil
}

func (b *bearer) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	if err := b.Check(); err != nil {
		return nil, nil, err
	}
	token := b.fresh
	if token == nil {
		var err error
		if token, err = b.ask(ctx, ""); err != nil {
			return nil, nil, err
		}
	}
	user, _ := b.credentials()
	text, _ := token()
	message := b.message(user, text, peer)
	run := &bearerRun{mechanism: b, token: token, message: func() []byte { return message }}
	return run, message, nil
}

// accessToken is a token that can be sent, and when it expires. It is a function
// for the reason that plain has.
type accessToken func() (text string, expires time.Time)

// ask asks the source for a token. refused is the one that a server refused, or
// "".
func (b *bearer) ask(ctx context.Context, refused string) (accessToken, error) {
	_, tokens := b.credentials()
	token, err := tokens(ctx, refused)
	if err != nil {
		class := core.Temporary
		if e, ok := errors.AsType[*core.Error](err); ok {
			class = e.Class
		}
		return nil, &core.Error{Stage: core.StageAuth, Class: class, Err: fmt.Errorf("%s: no token: %w", b.name, err)}
	}
	switch {
	case token == nil || token.AccessToken == "":
		return nil, errors.New("the token source returned no token and no error")
	case !strings.EqualFold(token.Type(), "Bearer"):
		return nil, fmt.Errorf("the token is of the type %.32q, and only a Bearer token can be used", token.Type())
	case strings.ContainsFunc(token.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		// RFC 6750 §2.1, b64token, has fewer; no server misses the others.
		return nil, errors.New("the token holds a space, a line end or another character that no token has: see how it was read")
	}
	text, expires := token.AccessToken, token.Expiry
	return func() (string, time.Time) { return text, expires }, nil
}

// bearerRun is one run of a [bearer].
type bearerRun struct {
	mechanism *bearer
	token     accessToken
	message   func() []byte // the initial response
	reported  bool          // the server sent a challenge, which is its report of failure
	failure   *TokenError   // what that said, if it can be read
}

// Next answers the server's report of failure (RFC 7628 §3.2.2), after which it
// refuses.
func (r *bearerRun) Next(_ context.Context, challenge []byte) ([]byte, error) {
	if r.reported {
		return nil, violation("unexpected challenge")
	}
	r.reported = true
	r.failure = r.readFailure(challenge)
	return []byte(r.mechanism.goOn), nil
}

func (*bearerRun) Done(context.Context) error { return nil }

// Expires implements [core.Expirer].
func (r *bearerRun) Expires() time.Time {
	_, expires := r.token()
	return expires
}

// Refused implements [core.RefusalHandler].
func (r *bearerRun) Refused(ctx context.Context, refusal *core.Error) core.Mechanism {
	switch {
	case r.failure != nil && refusal.Err != nil:
		refusal.Err = fmt.Errorf("%w: %w", refusal.Err, r.failure)
	case r.failure != nil:
		refusal.Err = r.failure
	case !errors.Is(refusal, core.ErrCredentials):
		return nil // it is not about the token
	}
	if refusal.Class != core.Permanent {
		return nil
	}
	refusal.Hint = "check that the token is for this server and this user, and has the scope that the server wants"
	if r.mechanism.fresh != nil || r.failure != nil && r.failure.Status == "insufficient_scope" { // RFC 6750 §3.1
		return nil
	}
	refused, _ := r.token()
	token, err := r.mechanism.ask(ctx, refused)
	if err != nil {
		refusal.Err = fmt.Errorf("%w; then there was no other token: %w", refusal.Err, err)
		refusal.Class = core.ClassOf(err)
		return nil
	}
	if text, _ := token(); text == refused {
		return nil
	}
	other := *r.mechanism
	other.fresh = token
	return &other
}

// TokenError is what a server says of a token that it refuses (RFC 7628 §3.2.2).
// Each field has at most 200 octets of it, without control characters, and
// without the token if the server repeats that. What it does not say is empty.
type TokenError struct {
	// Status is the error's code: "invalid_token", for one (RFC 6750 §3.1), or
	// from older servers an HTTP status such as "400".
	Status string
	// Scope is a scope that would do.
	Scope string
	// Configuration is the URL of the document that says where to get a token:
	// OpenID Connect Discovery §3. It is the server's claim.
	Configuration string
}

// Error returns what the server said.
func (e *TokenError) Error() string {
	text := "the token is refused"
	for _, f := range []struct{ name, value string }{{"status", e.Status}, {"scope", e.Scope}, {"configuration", e.Configuration}} {
		if f.value != "" {
			text += fmt.Sprintf(", %s %q", f.name, f.value)
		}
	}
	return text
}

// readFailure reads the server's report; it returns nil if that says nothing.
func (r *bearerRun) readFailure(challenge []byte) *TokenError {
	var report struct {
		Status        any `json:"status"` // a number from some
		Scope         any `json:"scope"`
		Configuration any `json:"openid-configuration"`
	}
	if json.Unmarshal(challenge, &report) != nil {
		return nil // the refusal will tell enough
	}
	e := &TokenError{r.shown(report.Status), r.shown(report.Scope), r.shown(report.Configuration)}
	if *e == (TokenError{}) {
		return nil
	}
	return e
}

// maxShown is how much of a field of the server's report is shown, in octets.
const maxShown = 200

// shown makes a field of the server's report fit to be seen.
func (r *bearerRun) shown(field any) string {
	var text string
	switch v := field.(type) {
	case string:
		text = v
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	}
	token, _ := r.token()
	secrets := []string{token}
	for _, octets := range [][]byte{r.message(), []byte(token)} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString(octets))
	}
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	text = strings.Map(func(c rune) rune {
		if !strconv.IsPrint(c) {
			return '?'
		}
		return c
	}, text)
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "")
	}
	return text
}

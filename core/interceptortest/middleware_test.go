package interceptortest_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/interceptortest"
	"github.com/postrider/postrider/middleware/breaker"
	"github.com/postrider/postrider/middleware/dialogue"
	sign "github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/headers"
	"github.com/postrider/postrider/middleware/logging"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/middleware/telemetry"
)

// must returns the interceptor that was made.
func must(t testing.TB) func(core.Interceptor, error) core.Interceptor {
	return func(i core.Interceptor, err error) core.Interceptor {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
}

// Every interceptor of this project keeps to the rules.
func TestMiddleware(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	for name, config := range map[string]interceptortest.Config{
		"breaker": {New: func(t testing.TB) core.Interceptor { return must(t)(breaker.New(breaker.Config{})) }},
		"dialogue": {New: func(t testing.TB) core.Interceptor {
			return must(t)(dialogue.New(dialogue.Config{Writer: io.Discard}))
		}},
		"dkim": {
			New: func(t testing.TB) core.Interceptor {
				return must(t)(sign.New(sign.Config{Signatures: []sign.Signature{{Domain: "example.com", Selector: "test", Signer: key}}}))
			},
			Expect: func(sent, received []byte) error { return verify(key.Public().(ed25519.PublicKey), sent, received) },
			MayRefuse: func(m *core.Message, err error) bool {
				return errors.Is(err, core.ErrOneShot) || strings.Contains(err.Error(), "From")
			},
		},
		"headers": {
			New: func(t testing.TB) core.Interceptor { return must(t)(headers.New(headers.Config{})) },
			Expect: func(sent, received []byte) error {
				return added(sent, received, "Date", "Message-ID")
			},
		},
		"logging": {New: func(t testing.TB) core.Interceptor {
			logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))
			return must(t)(logging.New(logging.Config{Logger: logger}))
		}},
		"ratelimit": {New: func(t testing.TB) core.Interceptor {
			return must(t)(ratelimit.New(ratelimit.Config{Messages: ratelimit.Rate{Count: 10000, Per: time.Second, Burst: 100}}))
		}},
		"retry": {
			New: func(t testing.TB) core.Interceptor {
				return must(t)(retry.New(retry.Config{Attempts: 3, InitialInterval: time.Millisecond}))
			},
			Retries: true,
		},
		"telemetry": {New: func(t testing.TB) core.Interceptor { return must(t)(telemetry.New(telemetry.WithExchangeSpans())) }},
	} {
		t.Run(name, func(t *testing.T) { interceptortest.Run(t, config) })
	}
}

// verify checks the one signature that was put in front of what was sent. A header
// without a text gets the empty line that ends it.
func verify(key ed25519.PublicKey, sent, received []byte) error {
	if !bytes.Contains(sent, []byte("\r\n\r\n")) {
		sent = append(sent, "\r\n"...)
	}
	if !bytes.HasSuffix(received, sent) {
		return fmt.Errorf("what was sent is not at the end of what was received: %.200q", received)
	}
	record := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key)
	list, err := dkim.VerifyWithOptions(bytes.NewReader(received), &dkim.VerifyOptions{
		LookupTXT: func(string) ([]string, error) { return []string{record}, nil },
	})
	switch {
	case err != nil:
		return err
	case len(list) != 1:
		return fmt.Errorf("%d signatures", len(list))
	}
	return list[0].Err
}

// added checks that nothing but these fields was added, at the end of the header.
func added(sent, received []byte, fields ...string) error {
	header, text, ok := bytes.Cut(sent, []byte("\r\n\r\n"))
	switch {
	case bytes.HasPrefix(sent, []byte("\r\n")):
		header, text = nil, sent[2:]
	case !ok:
		header, text = bytes.TrimSuffix(sent, []byte("\r\n")), nil
	}
	rest, ok := bytes.CutPrefix(received, header)
	if !ok {
		return fmt.Errorf("the header was changed: %.300q", received)
	}
	rest, ok = bytes.CutSuffix(rest, text)
	if !ok {
		return fmt.Errorf("the text was changed: %.300q", received)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(rest)), "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		known := line == "" || line[0] == ' '
		for _, f := range fields {
			known = known || name == f
		}
		if !known {
			return fmt.Errorf("the line %q was added", line)
		}
	}
	return nil
}

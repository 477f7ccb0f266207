package headers_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/middleware/headers"
)

// bodies is content in each of the forms in which a caller may have it.
func bodies(t *testing.T, content string) map[string]func() core.Body {
	t.Helper()
	name := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]func() core.Body{
		"in memory":    func() core.Body { return core.String(content) },
		"a file":       func() core.Body { return core.File(name) },
		"rendered":     func() core.Body { return core.Render(strings.NewReader(content), 0) },
		"read once":    func() core.Body { return core.Reader(strings.NewReader(content)) },
		"two segments": func() core.Body { return core.Segments(core.String(content[:9]), core.String(content[9:])) },
	}
}

func TestOnEachKindOfSession(t *testing.T) {
	text := "\r\n" + strings.Repeat(".Hello, world.\r\n", 10_000) // larger than what is sent inline
	for _, s := range sessions {
		for size, text := range map[string]string{"small": "\r\n.Hello.\r\n", "large": text} {
			for kind, body := range bodies(t, "A: b\r\nBcc: c@d.example\r\n"+text) {
				t.Run(s.name+", "+size+", "+kind, func(t *testing.T) {
					server := smtptest.NewServer(t, smtptest.ServerOptions{})
					config := server.Config()
					s.change(&config)
					if _, err := newClient(t, config, mustNew(t, headers.Config{})).Send(t.Context(), message(body())); err != nil {
						t.Fatal(err)
					}
					if got, want := hideIDs(string(server.Messages()[0].Content)), "A: b\r\n"+both+text; got != want {
						t.Errorf("%d octets came, want %d: %.200q", len(got), len(want), got)
					}
				})
			}
		}
	}
}

func TestSmallContentStillLeavesWithItsEnvelope(t *testing.T) {
	all := bodies(t, "A: b\r\nBcc: c@d.example\r\n\r\nHello.\r\n")
	delete(all, "read once") // its size is not known
	for kind, body := range all {
		t.Run(kind, func(t *testing.T) {
			script := smtptest.NewScript(t, `
				S: 220 mx.example
				C: EHLO client.example
				S: 250-mx.example
				S: 250-PIPELINING
				S: 250 CHUNKING
				C: MAIL FROM:<me@sender.example>
				C| RCPT TO:<you@example.net>
				C| BDAT 54 LAST
				C| A: b
				C| Date: Tue, 3 Feb 2026 12:00:00 +0100
				C|
				C| Hello.
				S: 250 ok
				S: 250 ok
				S: 250 ok
				C: QUIT
				S: 221 bye
			`, smtptest.Options{})
			client := newClient(t, script.Config(), mustNew(t, headers.Config{LeaveMessageID: true}))
			if _, err := client.Send(t.Context(), message(body())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAMessageThatIsRefusedCostsTheServerNothing(t *testing.T) {
	script := smtptest.NewScript(t, `
		S: 220 mx.example
		C: EHLO client.example
		S: 250 mx.example
		C: QUIT
		S: 221 bye
	`, smtptest.Options{})
	client := newClient(t, script.Config(), mustNew(t, headers.Config{}))
	_, err := client.Send(t.Context(), message(core.String("Hello.\r\n")))
	wantLocal(t, err, "line 1 of the header is no field")
}

func TestRetriesSendTheSame(t *testing.T) {
	for _, order := range []string{"before the retry", "behind the retry"} {
		for _, s := range sessions {
			t.Run(order+", "+s.name, func(t *testing.T) {
				var contents []string
				server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(m smtptest.Message) *core.Reply {
					contents = append(contents, string(m.Content))
					if len(contents) == 1 {
						return smtptest.Reply("451 4.3.0 later")
					}
					return nil
				}})
				config := server.Config()
				s.change(&config)
				list := []core.Interceptor{mustNew(t, headers.Config{}), again()}
				if order == "behind the retry" {
					slices.Reverse(list)
				}
				if _, err := newClient(t, config, list...).Send(t.Context(), message(core.String("A: b\r\n\r\n"))); err != nil {
					t.Fatal(err)
				}
				if len(contents) != 2 || contents[0] != contents[1] || hideIDs(contents[0]) != "A: b\r\n"+both+"\r\n" {
					t.Errorf("sent %q", contents)
				}
			})
		}
	}
}

func TestContentThatIsMadeAnewHasTheSameDateAndMessageID(t *testing.T) {
	script := smtptest.NewScript(t, `
		S: 220 mx.example
		C: EHLO client.example
		S: 250 mx.example
		C: MAIL FROM:<me@sender.example>
		S: 421 4.3.2 shutting down
		CLOSE
		---
		S: 220 mx.example
		C: EHLO client.example
		S: 250-mx.example
		S: 250 8BITMIME
		C: MAIL FROM:<me@sender.example>
		S: 250 ok
		C: RCPT TO:<you@example.net>
		S: 250 ok
		C: DATA
		S: 354 go on
		CONTENT
		S: 250 ok
		C: QUIT
		S: 221 bye
	`, smtptest.Options{})
	var contents []string
	look := core.Interceptor{Name: "look", Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			c.Offers("8BITMIME") // the chain runs again when another server offers it
			contents = append(contents, read(t, c.Body))
			return next(ctx, c)
		}
	}}
	client := newClient(t, script.Config(), mustNew(t, headers.Config{}), again(), look)
	if _, err := client.Send(t.Context(), message(core.String("A: b\r\n\r\n"))); err != nil {
		t.Fatal(err)
	}
	if len(contents) != 2 || contents[0] != contents[1] {
		t.Errorf("made %q", contents)
	}
}

func TestASignatureCoversWhatWasAdded(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := dkim.Record(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sign, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{{Domain: "sender.example", Selector: "s", Signer: key}}})
	if err != nil {
		t.Fatal(err)
	}
	add := mustNew(t, headers.Config{Set: []headers.Field{{Name: "Reply-To", Value: "Jörg <j@sender.example>"}}})
	config := smtptest.NewServer(t, smtptest.ServerOptions{}).Config()
	config.Interceptors = []core.Interceptor{sign, add}
	_, err = core.NewClient(config)
	wantLocal(t, err, `put it before "dkim"`)
	for _, s := range sessions {
		for kind, body := range bodies(t, "From: me@sender.example\r\nBcc: c@d.example\nSubject: x\r\n\r\n.Hello.\r\n") {
			if kind == "read once" {
				continue // dkim refuses it
			}
			t.Run(s.name+", "+kind, func(t *testing.T) {
				server := smtptest.NewServer(t, smtptest.ServerOptions{})
				config := server.Config()
				s.change(&config)
				if _, err := newClient(t, config, add, sign).Send(t.Context(), message(body())); err != nil {
					t.Fatal(err)
				}
				content := string(server.Messages()[0].Content)
				list, err := msgauth.VerifyWithOptions(strings.NewReader(content), &msgauth.VerifyOptions{
					LookupTXT: func(string) ([]string, error) { return []string{record}, nil },
				})
				if err != nil || len(list) != 1 || list[0].Err != nil {
					t.Fatalf("verified as %+v, %v:\n%s", list, err, content)
				}
				for _, name := range []string{"Date", "Message-ID", "Reply-To"} {
					if !slices.Contains(list[0].HeaderKeys, name) || !strings.Contains(content, "\r\n"+name+": ") {
						t.Errorf("%s is not signed: %q\n%s", name, list[0].HeaderKeys, content)
					}
				}
			})
		}
	}
}

func TestFromManyGoroutines(t *testing.T) {
	for _, s := range sessions {
		t.Run(s.name, func(t *testing.T) {
			server := smtptest.NewServer(t, smtptest.ServerOptions{})
			config := server.Config()
			s.change(&config)
			client := newClient(t, config, mustNew(t, headers.Config{Add: []headers.Field{
				{Name: "X-From", Func: func(m *core.Message) string { return m.From }},
				{Name: "X-Same", Value: "x"},
			}}))
			shared := core.String("A: b\r\nBcc: c@d.example\r\n\r\nHello.\r\n")
			var all sync.WaitGroup
			for g := range 32 {
				all.Go(func() {
					m := message(shared)
					m.From = fmt.Sprintf("s%d@sender.example", g)
					for range 4 {
						if _, err := client.Send(t.Context(), m); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			different := make(map[string]bool)
			for _, m := range server.Messages() {
				content := string(m.Content)
				different[ids.FindString(content)] = true
				if want := "A: b\r\n" + both + "X-From: " + m.From + "\r\nX-Same: x\r\n\r\nHello.\r\n"; hideIDs(content) != want {
					t.Errorf("got %q, want %q", content, want)
				}
			}
			if len(different) != 128 {
				t.Errorf("128 messages have %d ids", len(different))
			}
		})
	}
}

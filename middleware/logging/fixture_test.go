package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The people of the tests. None of their addresses may be logged unasked.
const (
	alice = "alice@sender.example"
	bob   = "bob@recipient.example"
	carol = "carol@recipient.example"
)

// book is a logger and what it was told.
type book struct {
	mu     sync.Mutex
	text   bytes.Buffer
	logger *slog.Logger
}

func newBook(level slog.Level) *book {
	b := &book{}
	b.logger = slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: level}))
	return b
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// record is one record: its attributes, and "msg" and "level".
type record map[string]any

// records returns those with a message, in their order.
func (b *book) records(t testing.TB, message string) (list []record) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		r := record{}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if message == "" || r["msg"] == message {
			list = append(list, r)
		}
	}
	return list
}

// one returns the only record with a message.
func (b *book) one(t testing.TB, message string) record {
	t.Helper()
	list := b.records(t, message)
	if len(list) != 1 {
		t.Fatalf("there are %d records %q, want 1:\n%s", len(list), message, b.text.String())
	}
	return list[0]
}

// want checks attributes; nil stands for one that is not there.
func (r record) want(t testing.TB, attributes map[string]any) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		got, want := r[key], attributes[key]
		if n, ok := want.(int); ok {
			want = float64(n) // as JSON has it
		}
		if got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if t.Failed() {
		t.Logf("%v", r)
	}
}

func mustNew(t testing.TB, config logging.Config) core.Interceptor {
	t.Helper()
	i, err := logging.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// newClient returns a client of the server.
func newClient(t testing.TB, config core.Config, list ...core.Interceptor) *core.Client {
	t.Helper()
	config.Interceptors = append(config.Interceptors, list...)
	client, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// letter returns a message to the recipients.
func letter(to ...string) *core.Message {
	return &core.Message{From: alice, To: core.Recipients(to...), Body: core.String("Subject: secret plan\r\n\r\nconfidential\r\n")}
}

// again is the simplest retry: one more try if the first was not all.
func again() core.Interceptor {
	return core.Interceptor{Name: "again", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if next(ctx, d) == nil {
				return nil
			}
			return next(ctx, d)
		}
	}}
}

// refuse returns a server that answers RCPT for some with a reply, n times.
func refuse(n int, address, reply string) smtptest.ServerOptions {
	var mu sync.Mutex
	return smtptest.ServerOptions{Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		mu.Lock()
		defer mu.Unlock()
		if to.Address != address || n == 0 {
			return nil
		}
		n--
		return smtptest.Reply(reply)
	}}
}

// sessions are those that a message may be sent on.
var sessions = []struct {
	name   string
	change func(*core.Config)
}{
	{"with PIPELINING and CHUNKING", func(c *core.Config) { c.PipelineDepth = 1 }},
	{"with neither", func(c *core.Config) { c.PipelineDepth, c.MaskExtensions = 1, []string{"PIPELINING", "CHUNKING"} }},
	{"shared by 16, with CHUNKING", func(c *core.Config) { c.PipelineDepth, c.MaxSessions = 16, 1 }},
	{"shared by 16, without", func(c *core.Config) {
		c.PipelineDepth, c.MaxSessions, c.MaskExtensions = 16, 1, []string{"CHUNKING"}
	}},
}

// accepts returns a function that accepts all content, with these words.
func accepts(words string) func(smtptest.Message) *core.Reply {
	return func(smtptest.Message) *core.Reply { return smtptest.Reply("250 2.0.0 " + words) }
}

// failing fails each attempt when it is over, and everybody was accepted.
func failing() core.Interceptor {
	return core.Interceptor{Name: "failing", Attempt: func(next core.AttemptFunc) core.AttemptFunc {
		return func(ctx context.Context, a *core.Attempt) error {
			return errors.Join(next(ctx, a), errors.New("too late"))
		}
	}}
}

package logging_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/logging"
	"github.com/postrider/postrider/middleware/retry"
)

// gossip is a server that repeats in its replies whatever it was told.
func gossip() smtptest.ServerOptions {
	return smtptest.ServerOptions{
		Rcpt: func(e smtptest.Envelope, to smtptest.Recipient) *core.Reply {
			if to.Address == carol {
				return smtptest.Reply("550 5.1.1 <" + to.Address + "> from <" + e.From + "> is unknown")
			}
			return nil
		},
		Content: func(m smtptest.Message) *core.Reply { return smtptest.Reply("250 2.0.0 queued as " + m.From) },
	}
}

func TestAddressesAndRepliesAreNotLoggedUnasked(t *testing.T) {
	b := newBook(slog.LevelDebug)
	client := newClient(t, smtptest.NewServer(t, gossip()).Config(), mustNew(t, logging.Config{Logger: b.logger}))
	_, _ = client.Send(t.Context(), letter(bob, carol))
	_ = client.Shutdown(t.Context())
	if n := len(b.records(t, "")); n != 4 {
		t.Errorf("%d records, want 4", n)
	}
	for _, word := range []string{"alice", "bob", "carol", "sender.example", "recipient.example", "is unknown", "secret plan", "confidential"} {
		if strings.Contains(b.text.String(), word) {
			t.Errorf("%q was logged:\n%s", word, b.text.String())
		}
	}
}

func TestAddressesAndRepliesAreLoggedOnRequestAndNothingElseIs(t *testing.T) {
	b := newBook(slog.LevelDebug)
	client := newClient(t, smtptest.NewServer(t, gossip()).Config(), mustNew(t, logging.Config{Logger: b.logger, Addresses: true}))
	_, _ = client.Send(t.Context(), letter(bob, carol))
	r := b.one(t, logging.Delivery)
	r.want(t, map[string]any{
		"postrider.message.sender": alice, "postrider.recipient.address": carol,
		"error": "rcpt: 550 5.1.1 <" + carol + "> from <" + alice + "> is unknown",
	})
	if list, ok := r["postrider.message.recipients"].([]any); !ok || len(list) != 2 || list[0] != bob || list[1] != carol {
		t.Errorf("the recipients are %v", r["postrider.message.recipients"])
	}
	for _, word := range []string{"secret plan", "confidential"} {
		if strings.Contains(b.text.String(), word) {
			t.Errorf("%q was logged:\n%s", word, b.text.String())
		}
	}
}

func TestWhatAPanicSaysIsNotLogged(t *testing.T) {
	b := newBook(slog.LevelDebug)
	broken := core.Interceptor{Name: "broken", Content: func(core.ContentFunc) core.ContentFunc {
		return func(context.Context, *core.Content) error { panic("confidential") }
	}}
	client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), mustNew(t, logging.Config{Logger: b.logger, Addresses: true}), broken)
	_, _ = client.Send(t.Context(), letter(bob))
	b.one(t, logging.Delivery).want(t, map[string]any{"level": "ERROR", "error": `panic in interceptor "broken" (content)`})
	if strings.Contains(b.text.String(), "confidential") {
		t.Error("content was logged")
	}
}

// broken is a handler that panics where it is told to.
type broken struct {
	enabled, handle bool
	panics          *atomic.Int64
}

func (b broken) Enabled(context.Context, slog.Level) bool {
	if b.enabled {
		b.panics.Add(1)
		panic("enabled")
	}
	return true
}

func (b broken) Handle(context.Context, slog.Record) error {
	b.panics.Add(1)
	panic("handle")
}

func (b broken) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b broken) WithGroup(string) slog.Handler      { return b }

func TestAHandlerThatPanicsChangesNothing(t *testing.T) {
	levels := func(core.Outcome) slog.Level { panic("level") }
	var panics atomic.Int64
	for name, config := range map[string]logging.Config{
		"in Enabled": {Logger: slog.New(broken{enabled: true, panics: &panics})},
		"in Handle":  {Logger: slog.New(broken{handle: true, panics: &panics})},
		"in Level":   {Logger: slog.New(broken{handle: true, panics: &panics}), Level: levels},
	} {
		for _, s := range sessions {
			t.Run(name+", "+s.name, func(t *testing.T) {
				panics.Store(0)
				server := smtptest.NewServer(t, refuse(1, bob, "451 4.7.1 greylisted"))
				settings := server.Config()
				s.change(&settings)
				again, err := retry.New(retry.Config{InitialInterval: 1})
				if err != nil {
					t.Fatal(err)
				}
				client := newClient(t, settings, mustNew(t, config), again)
				// What was deferred is tried again, and what was delivered is a success.
				receipt, err := client.Send(t.Context(), letter(bob, carol))
				if err != nil || receipt.Attempts != 2 {
					t.Errorf("%d attempts, %v", receipt.Attempts, err)
				}
				if _, err := client.Send(t.Context(), letter(bob)); err != nil {
					t.Error(err)
				}
				for _, m := range server.Messages() {
					if m.Connection != 1 {
						t.Error("the session was thrown away")
					}
				}
				if err := client.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				if panics.Load() == 0 {
					t.Error("nothing panicked")
				}
			})
		}
	}
}

// blocking is a handler that keeps its first record until it is told to go on.
type blocking struct {
	slog.Handler
	first       *atomic.Bool
	began, goOn chan struct{}
}

func (b blocking) Handle(context.Context, slog.Record) error {
	if b.first.CompareAndSwap(false, true) {
		close(b.began)
		<-b.goOn
	}
	return nil
}

func TestAHandlerThatBlocksHoldsUpItsOwnDeliveryAlone(t *testing.T) {
	for _, s := range sessions {
		t.Run(s.name, func(t *testing.T) {
			config := smtptest.NewServer(t, smtptest.ServerOptions{}).Config()
			s.change(&config)
			config.MaxSessions = 1
			h := blocking{from{slog.DiscardHandler, slog.LevelInfo}, new(atomic.Bool), make(chan struct{}), make(chan struct{})}
			client := newClient(t, config, mustNew(t, logging.Config{Logger: slog.New(h)}))
			held := make(chan error)
			go func() {
				_, err := client.Send(t.Context(), letter(bob))
				held <- err
			}()
			<-h.began
			if _, err := client.Send(t.Context(), letter(carol)); err != nil {
				t.Error(err)
			}
			close(h.goOn)
			if err := <-held; err != nil {
				t.Error(err)
			}
		})
	}
}

// This test is alone with the default logger: no test of the package runs in
// parallel.
func TestWithoutALoggerItIsTheDefaultOfTheTime(t *testing.T) {
	client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), mustNew(t, logging.Config{}))
	old := slog.Default()
	defer slog.SetDefault(old)
	for range 2 {
		var b bytes.Buffer
		slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
		if _, err := client.Send(t.Context(), letter(bob)); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), `level=INFO msg="smtp delivery"`); n != 1 || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("logged %q", b.String())
		}
	}
}

// counting is a handler that counts what it is asked and refuses it all.
type counting struct {
	slog.Handler
	handled atomic.Int64
}

func (*counting) Enabled(context.Context, slog.Level) bool { return false }
func (c *counting) Handle(context.Context, slog.Record) error {
	c.handled.Add(1)
	return nil
}

func TestWhatIsNotWantedIsNotMade(t *testing.T) {
	h := &counting{Handler: slog.DiscardHandler}
	client := newClient(t, smtptest.NewServer(t, refuse(-1, carol, "550 no")).Config(), mustNew(t, logging.Config{Logger: slog.New(h), Addresses: true}))
	_, _ = client.Send(t.Context(), letter(bob, carol))
	_ = client.Shutdown(t.Context())
	if n := h.handled.Load(); n != 0 {
		t.Errorf("%d records were made", n)
	}
}

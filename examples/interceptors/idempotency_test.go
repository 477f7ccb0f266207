package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// Of four with the same key, all at the same time, one is sent.
func proveIdempotency(t *testing.T, change func(*core.Config)) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	config := server.Config()
	change(&config)
	key := func(_ context.Context, m *core.Message) string { return m.To[0].Address }
	results := sendAll(t, newClient(t, config, idempotency(newMemory(time.Hour), key)), func(n int) *core.Message {
		return letter(n, strings.Repeat("a", n/4+1)+"@example.net")
	})
	accepted := map[string]int{}
	for _, r := range results {
		switch to := r.Receipt.Recipients[0]; {
		case to.Outcome == core.Accepted:
			accepted[to.Address]++
		case !errors.Is(to.Err, errSent) && !errors.Is(to.Err, errRunning):
			t.Errorf("%v", to)
		}
	}
	for to, n := range accepted {
		if n != 1 {
			t.Errorf("%s got %d", to, n)
		}
	}
	if got := len(server.Messages()); got != batch/4 || len(accepted) != batch/4 {
		t.Errorf("the server got %d messages, and %d were accepted", got, len(accepted))
	}
}

func TestIdempotency_whoWasNotAcceptedGetsItTheNextTime(t *testing.T) {
	full := true
	server := smtptest.NewServer(t, smtptest.ServerOptions{Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		if to.Address == "bob@example.net" && full {
			full = false
			return smtptest.Reply("452 4.2.2 full")
		}
		return nil
	}})
	client := newClient(t, server.Config(), idempotency(newMemory(time.Hour), keyOf))
	send := func(key string, want ...core.Outcome) {
		t.Helper()
		// Ann stands there twice, and gets it twice.
		receipt, _ := client.Send(withKey(t.Context(), key), letter(0, "ann@example.net", "bob@example.net", "ann@example.net"))
		wantOutcomes(t, receipt, want...)
	}
	send("1", core.Accepted, core.Deferred, core.Accepted)
	send("1", core.Refused, core.Accepted, core.Refused)
	send("1", core.Refused, core.Refused, core.Refused)
	send("2", core.Accepted, core.Accepted, core.Accepted)
	send("", core.Accepted, core.Accepted, core.Accepted) // no key at all
	if got := len(server.Messages()); got != 4 {
		t.Errorf("the server got %d messages", got)
	}
}

func TestIdempotency_ofTwoAtTheSameTimeTheSecondIsRefused(t *testing.T) {
	arrived, second := make(chan struct{}), make(chan struct{})
	server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		close(arrived)
		<-second
		return nil
	}})
	client := newClient(t, server.Config(), idempotency(newMemory(time.Hour), keyOf))
	ctx := withKey(t.Context(), "1")
	first := make(chan error)
	go func() {
		_, err := client.Send(ctx, letter(0, "ann@example.net"))
		first <- err
	}()
	<-arrived
	_, err := client.Send(ctx, letter(0, "ann@example.net"))
	close(second)
	if !errors.Is(err, errRunning) {
		t.Errorf("the second got %v", err)
	}
	if err := <-first; err != nil {
		t.Errorf("the first got %v", err)
	}
}

// RFC 1047: the server hangs up behind the content, and may have the message.
func TestIdempotency_whatIsInDoubtStaysSo(t *testing.T) {
	script := smtptest.NewScript(t, `
		S: 220 server.example
		C: EHLO client.example
		S: 250 server.example
		C: MAIL FROM:<shop@example.com>
		S: 250 ok
		C: RCPT TO:<ann@example.net>
		S: 250 ok
		C: DATA
		S: 354 go on
		CONTENT
		CLOSE
	`, smtptest.Options{})
	client := newClient(t, script.Config(), idempotency(newMemory(time.Hour), keyOf))
	for range 2 {
		receipt, _ := client.Send(withKey(t.Context(), "1"), letter(0, "ann@example.net"))
		wantOutcomes(t, receipt, core.Unknown)
	}
}

// broken is a store that is away.
type broken struct{ claims, settles error }

func (b broken) claim(context.Context, string) (state, error) { return free, b.claims }
func (b broken) settle(ctx context.Context, _ string, _ state) error {
	return errors.Join(b.settles, ctx.Err())
}

func TestIdempotency_aStoreThatIsAway(t *testing.T) {
	away := errors.New("the store is away")
	for _, tt := range []struct {
		rule  string
		store broken
		want  core.Outcome
	}{
		{"nothing is sent when a key cannot be claimed, and a later try is worth it", broken{claims: away}, core.Deferred},
		{"what was accepted stays accepted when that cannot be settled", broken{settles: away}, core.Accepted},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var chain error
			watch := core.Interceptor{Name: "watch", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
				return func(ctx context.Context, d *core.Delivery) error {
					chain = next(ctx, d)
					return chain
				}
			}}
			client := newClient(t, smtptest.NewServer(t, smtptest.ServerOptions{}).Config(), watch, idempotency(tt.store, keyOf))
			receipt, _ := client.Send(withKey(t.Context(), "1"), letter(0, "ann@example.net"))
			wantOutcomes(t, receipt, tt.want)
			if !errors.Is(chain, away) {
				t.Errorf("those in front got %v", chain)
			}
		})
	}
}

// A caller who leaves before anything was written gives the key back.
func TestIdempotency_aClaimEndsWithItsDelivery(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	ctx, cancel := context.WithCancel(withKey(t.Context(), "1"))
	leave := core.Interceptor{Name: "leave", Attempt: func(next core.AttemptFunc) core.AttemptFunc {
		return func(ctx context.Context, a *core.Attempt) error {
			cancel()
			return next(ctx, a)
		}
	}}
	client := newClient(t, server.Config(), idempotency(newMemory(time.Hour), keyOf), leave)
	receipt, _ := client.Send(ctx, letter(0, "ann@example.net"))
	wantOutcomes(t, receipt, core.Deferred)
	receipt, _ = client.Send(withKey(t.Context(), "1"), letter(0, "ann@example.net"))
	wantOutcomes(t, receipt, core.Accepted)
}

func TestMemory_forgetsWhatWasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, ctx := newMemory(time.Minute), t.Context()
		want := func(claim string, want state) {
			t.Helper()
			if was, err := m.claim(ctx, claim); was != want || err != nil {
				t.Errorf("%s was %d, %v, want %d", claim, was, err, want)
			}
		}
		for _, claim := range []string{"sent", "in doubt", "given back", "running"} {
			want(claim, free)
			want(claim, running)
		}
		_ = m.settle(ctx, "sent", sent)
		<-time.After(time.Minute - time.Nanosecond)
		_ = m.settle(ctx, "in doubt", inDoubt)
		_ = m.settle(ctx, "given back", free)
		want("sent", sent)
		want("given back", free)
		<-time.After(time.Nanosecond)
		want("sent", free)
		want("in doubt", inDoubt)
		<-time.After(time.Hour)
		want("in doubt", free)
		want("running", running) // for as long as it takes
		if len(m.ends) != 0 {
			t.Errorf("still there: %v", m.ends)
		}
	})
}

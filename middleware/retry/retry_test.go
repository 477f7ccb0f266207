package retry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/transport"
)

const content = "From: me@example.com\r\nSubject: Hello\r\n\r\nA line.\r\nAnother.\r\n"

func mustNew(t testing.TB, config retry.Config) core.Interceptor {
	t.Helper()
	i, err := retry.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newClient(t testing.TB, config core.Config) *core.Client {
	t.Helper()
	client, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// send sends a message to a and b at example.net, retrying without waits.
func send(t *testing.T, s *server, config retry.Config, body core.Body, more ...core.Interceptor) (*core.Receipt, error) {
	t.Helper()
	config.NewTimer = func() backoff.Timer { return new(instant) }
	client := newClient(t, core.Config{
		Endpoint: s.listen(t), Transports: transport.Standard(),
		Interceptors: append([]core.Interceptor{mustNew(t, config)}, more...),
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return client.Send(ctx, &core.Message{From: "me@example.com", To: core.Recipients("a@example.net", "b@example.net"), Body: body})
}

// first returns an answer the first times, and "" later.
func first(times int, answer string) func(int) string {
	return func(n int) string {
		if n <= times {
			return answer
		}
		return ""
	}
}

// forB returns an answer to RCPT of b alone.
func forB(f func(int) string) func(string, int) string {
	return func(address string, n int) string {
		if address != "b@example.net" {
			return ""
		}
		return f(n)
	}
}

func TestWhatIsTriedAgain(t *testing.T) {
	always := func(answer string) func(int) string { return func(int) string { return answer } }
	const accepted, refused, deferred, unknown = core.Accepted, core.Refused, core.Deferred, core.Unknown

	for _, tt := range []struct {
		rule     string
		server   *server
		config   retry.Config
		outcomes []core.Outcome // of a and b
		rcpts    []int          // how often each was named to the server
		stored   []int          // how often the server has the message for each
	}{
		{"what is accepted is sent once", &server{}, retry.Config{},
			[]core.Outcome{accepted, accepted}, []int{1, 1}, []int{1, 1}},
		{"a recipient deferred at first is tried again, alone", &server{rcpt: forB(first(1, "450 4.2.0 later"))}, retry.Config{},
			[]core.Outcome{accepted, accepted}, []int{1, 2}, []int{1, 1}},
		{"a recipient refused is not tried again", &server{rcpt: forB(always("550 5.1.1 no such user"))}, retry.Config{},
			[]core.Outcome{accepted, refused}, []int{1, 1}, []int{1, 0}},
		{"a refusal counts too when it comes later", &server{rcpt: forB(func(n int) string { return []string{"450 later", "550 never"}[n-1] })}, retry.Config{},
			[]core.Outcome{accepted, refused}, []int{1, 2}, []int{1, 0}},
		{"a sender deferred is tried again", &server{mail: first(2, "451 4.3.0 later")}, retry.Config{},
			[]core.Outcome{accepted, accepted}, []int{1, 1}, []int{1, 1}},
		{"a sender refused is not", &server{mail: always("550 5.7.1 go away")}, retry.Config{},
			[]core.Outcome{refused, refused}, []int{0, 0}, []int{0, 0}},
		{"content deferred is tried again", &server{content: first(1, "451 4.3.0 disk full")}, retry.Config{},
			[]core.Outcome{accepted, accepted}, []int{2, 2}, []int{1, 1}},
		{"content refused is not", &server{content: always("554 5.6.0 spam")}, retry.Config{},
			[]core.Outcome{refused, refused}, []int{1, 1}, []int{0, 0}},
		{"a connection lost behind the final dot is not: the server may have the message", &server{content: always("cut")}, retry.Config{},
			[]core.Outcome{unknown, unknown}, []int{1, 1}, []int{1, 1}},
		{"a server that cannot be reached is tried again", &server{refuse: func(n int) bool { return n <= 3 }}, retry.Config{},
			[]core.Outcome{accepted, accepted}, []int{1, 1}, []int{1, 1}},
		{"a 421 is tried again, on a new connection", &server{mail: first(1, "421 4.3.2 closing")}, retry.Config{},
			[]core.Outcome{accepted, accepted}, []int{1, 1}, []int{1, 1}},
		{"there are four attempts", &server{rcpt: forB(always("450 later"))}, retry.Config{},
			[]core.Outcome{accepted, deferred}, []int{1, 4}, []int{1, 0}},
		{"Attempts: 2 is one more", &server{rcpt: forB(always("450 later"))}, retry.Config{Attempts: 2},
			[]core.Outcome{accepted, deferred}, []int{1, 2}, []int{1, 0}},
		{"Attempts: 1 is never again", &server{rcpt: forB(always("450 later"))}, retry.Config{Attempts: 1},
			[]core.Outcome{accepted, deferred}, []int{1, 1}, []int{1, 0}},
		{"a BackOff of the caller's can stop, with no limit of ours", &server{rcpt: forB(always("450 later"))},
			retry.Config{Attempts: -1, NewBackOff: func() backoff.BackOff { return backoff.WithMaxRetries(&backoff.ZeroBackOff{}, 6) }},
			[]core.Outcome{accepted, deferred}, []int{1, 7}, []int{1, 0}},
		{"MaxElapsed ends it", &server{rcpt: forB(always("450 later"))}, retry.Config{InitialInterval: 10 * time.Minute, MaxElapsed: 5 * time.Minute},
			[]core.Outcome{accepted, deferred}, []int{1, 1}, []int{1, 0}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := tt.server
			receipt, err := send(t, s, tt.config, core.String(content))
			if ok := !slices.ContainsFunc(tt.outcomes, func(o core.Outcome) bool { return o != accepted }); ok != (err == nil) {
				t.Errorf("Send returned %v", err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			for i, address := range []string{"a@example.net", "b@example.net"} {
				if got := receipt.Recipients[i].Outcome; got != tt.outcomes[i] {
					t.Errorf("%s is %v, want %v: %v", address, got, tt.outcomes[i], err)
				}
				if got := s.rcpts[address]; got != tt.rcpts[i] {
					t.Errorf("%s was named %d times, want %d", address, got, tt.rcpts[i])
				}
				if got := s.stored[address]; got != tt.stored[i] {
					t.Errorf("%s has the message %d times, want %d", address, got, tt.stored[i])
				}
			}
		})
	}
}

func TestAConnectionLostBeforeTheFinalDotIsTriedAgain(t *testing.T) {
	s := &server{cutAfter: func(n int) int { return max(0, 2-n) * 1000 }}
	s.prepare(t)
	// Over a pipe, what the server has not read was not written.
	client := newClient(t, core.Config{Endpoint: "pipe://mx.example", Transports: []core.Transport{pipes{s}},
		Interceptors: []core.Interceptor{mustNew(t, retry.Config{NewTimer: func() backoff.Timer { return new(instant) }})}})
	long := core.String(content + strings.Repeat("A line like any other.\r\n", 5000))
	receipt, err := client.Send(t.Context(), &core.Message{From: "me@example.com", To: core.Recipients("a@example.net"), Body: long})
	if err != nil || receipt.Attempts != 2 {
		t.Errorf("got %v after %d attempts, want success after 2", err, receipt.Attempts)
	}
	if n := s.stored["a@example.net"]; n != 1 {
		t.Errorf("the message arrived %d times, want once", n)
	}
}

func TestABodyThatIsSpentEndsTheRetrying(t *testing.T) {
	s := &server{content: first(9, "451 4.3.0 disk full")}
	receipt, err := send(t, s, retry.Config{}, core.Reader(strings.NewReader(content)))
	for _, r := range receipt.Recipients {
		if r.Outcome != core.Deferred || r.Reply.Code != 451 {
			t.Errorf("%s is %v with %v, want deferred with 451", r.Address, r.Outcome, r.Reply)
		}
	}
	if !errors.Is(err, core.ErrOneShot) || !errors.Is(err, core.ErrContentRefused) {
		t.Errorf("the error does not say both why it was deferred and why it was not tried again: %v", err)
	}
	if n := s.count(&s.mails); n > 2 {
		t.Errorf("there were %d transactions: only the second could tell that the body is spent", n)
	}
}

// What an interceptor puts in front of a body, or makes of it, is spent with it: no
// transaction is begun in which the content would fail, and which costs the session.
func TestABodyThatIsSpentBelowOthersEndsTheRetrying(t *testing.T) {
	for name, wrap := range map[string]func(core.Body) core.Body{
		"with a header in front":    func(b core.Body) core.Body { return core.Segments(core.String("X-A: b\r\n"), b) },
		"with line ends made right": core.Canonical,
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{content: first(9, "451 4.3.0 disk full")}
			_, err := send(t, s, retry.Config{}, wrap(core.Reader(strings.NewReader(content))))
			if !errors.Is(err, core.ErrOneShot) {
				t.Error(err)
			}
			if mails, connections := s.count(&s.mails), s.count(&s.connections); mails != 1 || connections != 1 {
				t.Errorf("there were %d transactions on %d connections, want one", mails, connections)
			}
		})
	}
}

func TestABodyThatIsNotSpentCanBeTriedAgain(t *testing.T) {
	s := &server{mail: first(1, "451 4.3.0 later")}
	if _, err := send(t, s, retry.Config{}, core.Reader(strings.NewReader(content))); err != nil {
		t.Error(err)
	}
}

func TestTheLastReplyStaysWhenTheServerIsGone(t *testing.T) {
	s := &server{mail: first(1, "421 4.3.2 closing"), refuse: func(n int) bool { return n > 1 }}
	receipt, err := send(t, s, retry.Config{}, core.String(content))
	r := receipt.Recipients[0]
	if r.Outcome != core.Deferred || r.Reply.Code != 421 {
		t.Errorf("the recipient is %v with %v, want deferred with 421", r.Outcome, r.Reply)
	}
	if !errors.Is(err, core.ErrDisconnected) {
		t.Errorf("the error does not say what came after that: %v", err)
	}
	if n := s.count(&s.connections); n != 4 {
		t.Errorf("there were %d connections, want 4", n)
	}
}

func TestNotifyAndTheWaits(t *testing.T) {
	var (
		pauses []retry.Pause
		waits  []time.Duration
	)
	config := retry.Config{Attempts: 5, MaxInterval: 4 * time.Second, Randomization: -1,
		Notify:   func(_ context.Context, p retry.Pause) { pauses = append(pauses, p) },
		NewTimer: func() backoff.Timer { return &instant{waits: &waits} },
	}
	s := &server{rcpt: func(address string, n int) string {
		if address == "b@example.net" || n == 1 {
			return "450 4.2.0 later"
		}
		return ""
	}}
	client := newClient(t, core.Config{Endpoint: s.listen(t), Transports: transport.Standard(), Interceptors: []core.Interceptor{mustNew(t, config)}})
	_, _ = client.Send(t.Context(), &core.Message{From: "me@example.com", To: core.Recipients("a@example.net", "b@example.net"), Body: core.String(content)})

	want := []time.Duration{time.Second, 3 * time.Second, 4 * time.Second, 4 * time.Second}
	if !slices.Equal(waits, want) {
		t.Errorf("the waits were %v, want %v", waits, want)
	}
	for i, p := range pauses {
		recipients := 1
		if i == 0 {
			recipients = 2
		}
		if p.Attempt != i+1 || p.Wait != want[i] || p.Recipients != recipients || !errors.Is(p.Err, core.ErrRecipientRefused) {
			t.Errorf("pause %d was %+v", i, p)
		}
	}
	if len(pauses) != 4 {
		t.Errorf("Notify was called %d times, want 4", len(pauses))
	}
}

func TestAThousandAtOnce(t *testing.T) {
	s := &server{rcpt: func(address string, n int) string {
		if address[0]%2 == 0 && n%2 == 1 {
			return "450 4.2.0 later"
		}
		return ""
	}}
	client := newClient(t, core.Config{Endpoint: s.listen(t), Transports: transport.Standard(), MaxSessions: 16,
		Interceptors: []core.Interceptor{mustNew(t, retry.Config{
			NewTimer: func() backoff.Timer { return new(instant) }, Budget: retry.Budget{Ratio: -1}, // however slow this machine is
		})}})
	var group sync.WaitGroup
	for n := range 1000 {
		group.Go(func() {
			m := &core.Message{From: "me@example.com", To: core.Recipients(fmt.Sprintf("a%d@example.net", n), fmt.Sprintf("b%d@example.net", n)), Body: core.String(content)}
			if _, err := client.Send(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range 1000 {
		for _, address := range []string{fmt.Sprintf("a%d@example.net", n), fmt.Sprintf("b%d@example.net", n)} {
			if s.stored[address] != 1 {
				t.Errorf("%s has the message %d times, want once", address, s.stored[address])
			}
		}
	}
}

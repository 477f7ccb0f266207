package retry_test

import (
	"context"
	"errors"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/transport"
)

func TestRetryRefused(t *testing.T) {
	busy := func(r core.RecipientResult) bool { return r.Reply.Code == 554 }
	const accepted, refused, unknown = core.Accepted, core.Refused, core.Unknown
	for _, tt := range []struct {
		rule     string
		server   *server
		config   retry.Config
		outcomes []core.Outcome // of a and b
		code     int            // of b's reply
		rcpts    []int
		stored   []int
	}{
		{"a refusal is tried again if the caller says so, alone", &server{rcpt: forB(first(2, "554 busy"))}, retry.Config{RetryRefused: busy},
			[]core.Outcome{accepted, accepted}, 250, []int{1, 3}, []int{1, 1}},
		{"one that he does not mean is not", &server{rcpt: forB(first(2, "550 no such user"))}, retry.Config{RetryRefused: busy},
			[]core.Outcome{accepted, refused}, 550, []int{1, 1}, []int{1, 0}},
		{"it is one in the end, if it stays one", &server{rcpt: forB(first(9, "554 busy"))}, retry.Config{RetryRefused: busy},
			[]core.Outcome{accepted, refused}, 554, []int{1, 4}, []int{1, 0}},
		{"who may have the message is never tried again, whatever the caller says", &server{content: first(9, "cut")}, retry.Config{RetryRefused: func(core.RecipientResult) bool { return true }},
			[]core.Outcome{unknown, unknown}, 0, []int{1, 1}, []int{1, 1}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := tt.server
			receipt, err := send(t, s, tt.config, core.String(content))
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
			if got := receipt.Recipients[1].Reply.Code; got != tt.code {
				t.Errorf("the reply of b is %d, want %d", got, tt.code)
			}
			if tt.code == 554 && !errors.Is(err, core.ErrRecipientRefused) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestARefusalIsNotHiddenByWhatComesLater(t *testing.T) {
	s := &server{rcpt: forB(first(9, "554 busy")), refuse: func(n int) bool { return n > 1 }}
	receipt, err := send(t, s, retry.Config{
		RetryRefused: func(core.RecipientResult) bool { return true },
		Notify: func(context.Context, retry.Pause) { // there is no connection for another try
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, c := range s.open {
				_ = c.Close()
			}
		},
	}, core.String(content))
	if r := receipt.Recipients[1]; r.Outcome != core.Refused || r.Reply.Code != 554 {
		t.Errorf("b is %v with %v, want refused with 554", r.Outcome, r.Reply)
	}
	if !errors.Is(err, core.ErrRecipientRefused) || !errors.Is(err, core.ErrDisconnected) {
		t.Errorf("the error does not say both what was refused and what came then: %v", err)
	}
	if n := s.count(&s.connections); n != 4 {
		t.Errorf("there were %d connections, want 4", n)
	}
}

func TestACancelBeforeARefusalIsTriedAgainLeavesItOne(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{mail: first(9, "554 busy")}
	client := newClient(t, core.Config{Endpoint: s.listen(t), Transports: transport.Standard(), Interceptors: []core.Interceptor{mustNew(t, retry.Config{
		RetryRefused: func(core.RecipientResult) bool { return true },
		Notify:       func(context.Context, retry.Pause) { cancel() },
	})}})
	receipt, err := client.Send(ctx, &core.Message{From: "me@example.com", To: core.Recipients("a@example.net"), Body: core.String(content)})
	if r := receipt.Recipients[0]; r.Outcome != core.Refused || r.Reply.Code != 554 || r.Attempts != 1 {
		t.Errorf("the receipt has %+v", r)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error does not say that the context ended: %v", err)
	}
}

func TestARefusalIsKeptWhenTheNextTryIsStopped(t *testing.T) {
	calls := 0
	stop := core.Interceptor{Name: "stop", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if calls++; calls > 1 {
				return errors.New("no quota left")
			}
			return next(ctx, d)
		}
	}}
	s := &server{rcpt: forB(first(9, "554 busy"))}
	receipt, err := send(t, s, retry.Config{RetryRefused: func(core.RecipientResult) bool { return true }}, core.String(content), stop)
	r := receipt.Recipients[1]
	if r.Outcome != core.Refused || r.Reply.Code != 554 || calls != 2 {
		t.Errorf("b is %v with %v after %d tries, want refused with 554 after 2", r.Outcome, r.Reply, calls)
	}
	if want := "rcpt: 554 busy; not tried again: no quota left"; r.Err.Error() != want {
		t.Errorf("its error is %q, want %q", r.Err, want)
	}
	if !errors.Is(err, core.ErrRecipientRefused) {
		t.Errorf("the error is %v", err)
	}
}

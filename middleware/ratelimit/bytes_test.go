package ratelimit_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/ratelimit"
)

// sized is a body that says it has so many octets, and is never read.
type sized int64

func (s sized) Size() int64                                 { return int64(s) }
func (s sized) Open(context.Context) (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }

func TestAThousandAtOnceStayWithinTheOctets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &goal{}
		client := newClient(t, mustNew(t, ratelimit.Config{Bytes: ratelimit.Rate{Count: 1_000_000, Per: time.Second, Burst: 50_000}}), g.interceptor())
		start := time.Now()
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() {
				m := message("me@example.com", 1)
				m.Body = sized(10_000)
				send(t, t.Context(), client, m)
			})
		}
		group.Wait()
		within(t, "messages of 10,000 octets", g.times, ratelimit.Rate{Count: 100, Per: time.Second, Burst: 5})
		if took := time.Since(start); took.Round(time.Millisecond) != 9950*time.Millisecond {
			t.Errorf("it took %v, want 9.95s", took)
		}
	})
}

func TestAMessageLargerThanTheBurstLeavesADebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, mustNew(t, ratelimit.Config{Bytes: ratelimit.Rate{Count: 1_000_000, Per: time.Second}}), new(goal).interceptor())
		start := time.Now()
		for range 3 {
			m := message("me@example.com", 1)
			m.Body = sized(30_000_000)
			send(t, t.Context(), client, m)
		}
		if took := time.Since(start).Round(time.Millisecond); took != time.Minute {
			t.Errorf("it took %v, want 1m: the first goes at once, and each waits for what the one before has left", took)
		}
	})
}

// longer makes every message one of 16,000 octets.
func longer() core.Interceptor {
	return core.Interceptor{Name: "longer", Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			c.Body = core.String(strings.Repeat("0123456789abcd\r\n", 1000))
			return next(ctx, c)
		}
	}}
}

// What only turns out when a message is sent is charged when it is done.
func TestWhatIsSentBeyondTheSizeIsChargedAfterwards(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{MaxRecipients: 2})
	for _, tt := range []struct {
		rule       string
		body       core.Body
		recipients int
		more       []core.Interceptor
		bytes      int64 // of the request
		want       ratelimit.End
	}{
		{"a body that is sent as it is", core.String("A: b\r\n\r\nText.\r\n"), 1, nil, 15, ratelimit.End{Transactions: 1, Bytes: 15}},
		{"line ends that are made right count", core.String("A: b\n\nText.\n"), 1, nil, 12, ratelimit.End{Transactions: 1, Bytes: 15}},
		{"what an interceptor adds counts", core.String("A: b\r\n\r\nText.\r\n"), 1, []core.Interceptor{longer()}, 15, ratelimit.End{Transactions: 1, Bytes: 16000}},
		{"a body whose size was not known counts", core.Reader(strings.NewReader("x")), 1, []core.Interceptor{longer()}, -1, ratelimit.End{Transactions: 1, Bytes: 16000}},
		{"a message that takes three transactions (RFC 9422 §4) counts three times", core.String("A: b\r\n\r\nText.\r\n"), 5, nil, 15, ratelimit.End{Transactions: 3, Bytes: 45}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			r := &recorder{}
			config := server.Config()
			config.Interceptors = append([]core.Interceptor{mustNew(t, ratelimit.Config{Limiter: r})}, tt.more...)
			client, err := core.NewClient(smtptest.AtDepth(config))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			m := message("me@example.com", tt.recipients)
			m.Body = tt.body
			if _, err := client.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if got := r.requests[0].Bytes; got != tt.bytes {
				t.Errorf("the request has %d octets, want %d", got, tt.bytes)
			}
			if len(r.ends) != 1 || r.ends[0].Transactions != tt.want.Transactions || r.ends[0].Bytes != tt.want.Bytes {
				t.Errorf("the end is %+v, want %+v", r.ends, tt.want)
			}
		})
	}
}

func TestWhatIsChargedAfterwardsHoldsBackTheNext(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{MaxRecipients: 2})
	for _, tt := range []struct {
		rule       string
		config     ratelimit.Config
		recipients int
		wait       time.Duration
	}{
		{"a message that took three transactions counts as three", ratelimit.Config{Messages: ratelimit.Rate{Count: 1, Per: time.Hour, Burst: 2}}, 5, 2 * time.Hour},
		{"octets that nobody knew of leave a debt", ratelimit.Config{Bytes: ratelimit.Rate{Count: 1000, Per: time.Hour, Burst: 1000}}, 1, 15*time.Hour + 24*time.Hour/1000},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			tt.config.Refuse = true
			config := server.Config()
			config.Interceptors = []core.Interceptor{mustNew(t, tt.config), longer()}
			client, err := core.NewClient(smtptest.AtDepth(config))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			if _, err := client.Send(t.Context(), message("me@example.com", tt.recipients)); err != nil {
				t.Fatal(err)
			}
			_, err = client.Send(t.Context(), message("me@example.com", 1))
			l, ok := errors.AsType[*ratelimit.LimitError](err)
			if !ok || l.Wait > tt.wait || l.Wait < tt.wait-time.Minute {
				t.Errorf("got %v, want a wait of %v", err, tt.wait)
			}
		})
	}
}

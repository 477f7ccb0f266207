package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// goal stands where the server would be, and notes when messages arrive.
type goal struct {
	mu         sync.Mutex
	times      []time.Time // of each message
	recipients []time.Time // of each recipient
	froms      map[string]int
}

var errArrived = errors.New("arrived")

func (g *goal) interceptor() core.Interceptor {
	return core.Interceptor{Name: "goal", Delivery: func(core.DeliverFunc) core.DeliverFunc {
		return func(_ context.Context, d *core.Delivery) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.times = append(g.times, time.Now())
			for range d.Message().To {
				g.recipients = append(g.recipients, time.Now())
			}
			if g.froms == nil {
				g.froms = make(map[string]int)
			}
			g.froms[d.Message().From]++
			return errArrived
		}
	}}
}

func mustNew(t testing.TB, config ratelimit.Config) core.Interceptor {
	t.Helper()
	i, err := ratelimit.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newClient(t testing.TB, interceptors ...core.Interceptor) *core.Client {
	t.Helper()
	client, err := core.NewClient(core.Config{Endpoint: "smtp://localhost", Transports: transport.Standard(), Interceptors: interceptors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// message returns a message with that many recipients.
func message(from string, recipients int) *core.Message {
	to := make([]string, recipients)
	for i := range to {
		to[i] = fmt.Sprintf("r%d@example.net", i)
	}
	return &core.Message{From: from, To: core.Recipients(to...), Body: core.String("From: me@example.com\r\n\r\n")}
}

// send sends and expects the message to arrive.
func send(t *testing.T, ctx context.Context, client *core.Client, m *core.Message) {
	if _, err := client.Send(ctx, m); !errors.Is(err, errArrived) {
		t.Errorf("got %v, want the message to arrive", err)
	}
}

// within checks that there is no time, however long, in which more happened
// than the rate allows, give or take one.
func within(t *testing.T, what string, times []time.Time, r ratelimit.Rate) {
	t.Helper()
	slices.SortFunc(times, time.Time.Compare)
	most := float64(max(r.Burst, 1) + 1)
	left := most
	for i, now := range times {
		if i > 0 {
			left += now.Sub(times[i-1]).Seconds() * float64(r.Count) / r.Per.Seconds()
		}
		left = min(left, most) - 1
		if left < -1e-6 {
			t.Fatalf("too many %s after %v: number %d", what, now.Sub(times[0]), i+1)
		}
	}
}

// limitError checks the error of a message that was over the limit.
func limitError(t *testing.T, receipt *core.Receipt, err error, wait time.Duration) {
	t.Helper()
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Stage != core.StagePolicy || e.Class != core.Temporary {
		t.Errorf("got %v, want a temporary error of the stage policy", err)
	}
	l, ok := errors.AsType[*ratelimit.LimitError](err)
	if !ok || l.Wait != wait {
		t.Errorf("got %v, want one that says to wait for %v", err, wait)
	}
	if o := receipt.Recipients[0].Outcome; o != core.Deferred {
		t.Errorf("the recipient is %v, want deferred", o)
	}
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/core/smtptest"
)

// delivered returns the texts of the messages that a server has.
func delivered(server *smtptest.Server) map[string]int {
	texts := map[string]int{}
	for _, m := range server.Messages() {
		_, text, _ := strings.Cut(string(m.Content), "\r\n\r\n")
		texts[strings.TrimSpace(text)]++
	}
	return texts
}

// The service is stopped while more messages are under way than there are
// sessions. Those that wait for a session have it: the client is still there when
// nobody can post any more.
func TestStop_everybodyHasAnAnswer(t *testing.T) {
	const requests = 6 * core.DefaultMaxSessions
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	defer release()
	server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		<-released
		return nil
	}})
	begun := make(chan struct{}, requests)
	watch := func() core.Interceptor {
		return core.Interceptor{Name: "begun", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				begun <- struct{}{}
				return next(ctx, d)
			}
		}}
	}
	app, a := start(t, settingsFor(server), corefx.AsInterceptor(corefx.Observe, watch))
	a.http.RegisterOnShutdown(release) // when it no longer listens
	var clients sync.WaitGroup
	for n := range requests {
		clients.Go(func() {
			got, err := send(t, a, fmt.Sprint("number ", n), "ann@example.net")
			if err != nil || len(got.Recipients) != 1 || got.Recipients[0].Outcome != "accepted" {
				t.Errorf("number %d got %+v, %v", n, got, err)
			}
		})
	}
	for range requests {
		<-begun
	}
	app.RequireStop()
	clients.Wait()
	if got := delivered(server); len(got) != requests || slices.Max(slices.Collect(maps.Values(got))) != 1 {
		t.Errorf("the server got %v", got)
	}
	if _, err := send(t, a, "too late", "ann@example.net"); err == nil {
		t.Error("there was an answer after the service had stopped")
	}
}

// It is stopped while requests come without end. Whoever has an answer has the
// right one; whoever has none was never listened to.
func TestStop_nothingIsLostInAStorm(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	app, a := start(t, settingsFor(server))
	var (
		clients  sync.WaitGroup
		mu       sync.Mutex
		accepted = map[string]int{}
		under    = make(chan struct{}, 1)
	)
	for n := range 8 {
		clients.Go(func() {
			for k := 0; ; k++ {
				text := fmt.Sprintf("number %d of %d", k, n)
				got, err := send(t, a, text, "ann@example.net")
				if err != nil {
					return // nobody listens any more
				}
				if len(got.Recipients) != 1 || got.Recipients[0].Outcome != "accepted" {
					t.Errorf("%s got %+v", text, got)
				}
				mu.Lock()
				if accepted[text]++; len(accepted) == 20 {
					under <- struct{}{}
				}
				mu.Unlock()
			}
		})
	}
	<-under
	app.RequireStop()
	clients.Wait()
	if got := delivered(server); !maps.Equal(got, accepted) {
		t.Errorf("the server got %v\nthe answers say %v", got, accepted)
	}
}

// A mail server that hangs does not cost those who wait their answer: it comes
// while there is time to stop.
func TestStop_whoWaitsForTooLongGetsWhatIsKnown(t *testing.T) {
	arrived, released := make(chan struct{}), make(chan struct{})
	server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		close(arrived)
		<-released
		return nil
	}})
	defer close(released)
	s := settingsFor(server)
	s.stopTimeout = time.Second
	app, a := start(t, s)
	var client sync.WaitGroup
	client.Go(func() {
		got, err := send(t, a, "Hi!", "ann@example.net")
		if err != nil || len(got.Recipients) != 1 || got.Recipients[0].Outcome != "unknown" || !strings.Contains(got.Recipients[0].Error, "may have been accepted") {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	<-arrived
	app.RequireStop()
	client.Wait()
}

package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/breaker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// refusing is a transport whose connections fail, and are counted.
type refusing struct{ dials *atomic.Int32 }

func (refusing) Scheme() string { return "test" }
func (refusing) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{ServerName: u.Host, Local: true}, nil
}
func (r refusing) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	r.dials.Add(1)
	return nil, errors.New("connection refused")
}

func newClient(t *testing.T, config breaker.Config) (*core.Client, *atomic.Int32) {
	t.Helper()
	b, err := breaker.New(config)
	if err != nil {
		t.Fatal(err)
	}
	dials := new(atomic.Int32)
	c, err := core.NewClient(core.Config{Endpoint: "test://host", Transports: []core.Transport{refusing{dials}}, Interceptors: []core.Interceptor{b}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, dials
}

func send(t *testing.T, c *core.Client) error {
	t.Helper()
	_, err := c.Send(t.Context(), &core.Message{To: core.Recipients("you@example.net"), Body: core.String("hello")})
	if err == nil || core.ClassOf(err) != core.Temporary {
		t.Fatalf("got %v, want a temporary error", err)
	}
	return err
}

func TestAnEndpointRestsAfterFailuresInARow(t *testing.T) {
	for _, tt := range []struct {
		config breaker.Config
		dials  int32
		rest   time.Duration
	}{
		{breaker.Config{}, breaker.DefaultFailures, breaker.DefaultRest},
		{breaker.Config{Failures: 1, Rest: time.Minute}, 1, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, dials := newClient(t, tt.config)
			for range 5 {
				if err := send(t, c); errors.Is(err, core.ErrResting) && dials.Load() < tt.dials {
					t.Errorf("%+v: it rests after %d failures", tt.config, dials.Load())
				}
			}
			if got := dials.Load(); got != tt.dials {
				t.Errorf("%+v: %d connections, want %d", tt.config, got, tt.dials)
			}
			err := send(t, c)
			for _, want := range []string{"rests after failures", "test://host", "connection refused", tt.rest.String()} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			if !errors.Is(err, core.ErrResting) || !errors.Is(err, core.ErrDisconnected) {
				t.Errorf("of what kind is: %v", err)
			}

			<-time.After(tt.rest + time.Second)
			send(t, c) // is the probe
			send(t, c) // it has failed: another rest
			if got := dials.Load(); got != tt.dials+1 {
				t.Errorf("%+v: %d connections after the rest, want %d", tt.config, got, tt.dials+1)
			}
		})
	}
}

func TestNotifyTellsOfEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		c, _ := newClient(t, breaker.Config{Failures: 1, Notify: func(e core.Endpoint, from, to core.BreakerState) {
			changes = append(changes, fmt.Sprintf("%s: %v to %v", e.URL, from, to))
		}})
		send(t, c)
		send(t, c)
		<-time.After(11 * time.Second)
		send(t, c)
		want := "test://host: closed to open, test://host: open to half-open, test://host: half-open to open"
		if got := strings.Join(changes, ", "); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for says, config := range map[string]breaker.Config{
		"Failures": {Failures: -1},
		"Rest":     {Rest: -1},
	} {
		if _, err := breaker.New(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in: %v", says, err)
		}
	}
}

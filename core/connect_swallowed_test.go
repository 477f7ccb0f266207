package core_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// swallows is a Connect interceptor that hides why the session was not opened.
func swallows() core.Interceptor {
	return core.Interceptor{Name: "swallows", Connect: func(next core.ConnectFunc) core.ConnectFunc {
		return func(ctx context.Context, c *core.Connect) error {
			_ = next(ctx, c)
			return nil
		}
	}}
}

func TestConnect_anErrorOfDiallingThatIsSwallowedIsOneAllTheSame(t *testing.T) {
	c := newClient(t, "", smtptest.Options{}, with(swallows()), func(c *core.Config) {
		c.Transports = []core.Transport{undialled{c.Transports[0]}}
	})
	receipt, err := c.Send(t.Context(), message("b@example.com"))
	if got := outcomes(receipt); got != "deferred" || err == nil {
		t.Errorf("%s: %v", got, err)
	}
}

func TestConnect_aRefusedGreetingThatIsSwallowedIsOneAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled := 0
		c := newClient(t, "", smtptest.Options{}, with(swallows()), func(c *core.Config) {
			c.Transports = []core.Transport{refusing{c.Transports[0], &dialled}}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		receipt, err := c.Send(ctx, message("b@example.com"))
		if got := outcomes(receipt); got != "refused 554" || dialled != 1 {
			t.Errorf("%s after %d connections: %v", got, dialled, err)
		}
	})
}

// refusing counts connections, and makes each take 10 ms.
type refusing struct {
	core.Transport
	dialled *int
}

func (r refusing) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	*r.dialled++
	<-time.After(10 * time.Millisecond)
	client, server := net.Pipe()
	go func() {
		_, _ = io.WriteString(server, "554 no\r\n")
		_ = server.Close()
	}()
	return client, nil
}

type undialled struct{ core.Transport }

func (undialled) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	return nil, errors.New("connection refused")
}

package corefx_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/transport/transportfx"
)

// resource is something that the client is made of, and that has to be stopped.
type resource struct{ stopped bool }

func newResource(l fx.Lifecycle) *resource {
	r := &resource{}
	l.Append(fx.StartStopHook(func() {}, func() { r.stopped = true }))
	return r
}

// stuck is a server that says nothing more when it has said this. The channel is
// closed when it hears the command after that.
func stuck(t *testing.T, says ...string) (url string, heard <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	last := make(chan struct{})
	var served sync.WaitGroup
	served.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		lines := bufio.NewScanner(conn)
		for _, line := range says {
			_, _ = io.WriteString(conn, line+"\r\n")
			lines.Scan()
		}
		close(last)
		_, _ = io.Copy(io.Discard, conn)
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	return "smtp://" + l.Addr().String(), last
}

// fx calls no hook any more when the time is over: the client leaves some of it to
// what it was made of.
func TestTheClientLeavesTime(t *testing.T) {
	var r *resource
	var client *core.Client
	options := fx.Options(corefx.Module, transportfx.Module, fx.NopLogger, fx.Provide(newResource), fx.Populate(&r, &client))
	config := func(url string) fx.Option {
		return fx.Provide(func(*resource) core.Config { return core.Config{Endpoint: url} })
	}
	t.Run("at the start", func(t *testing.T) {
		url, _ := stuck(t)
		app := fx.New(options, config(url), corefx.ConnectAtStart)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := app.Start(ctx); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			t.Errorf("%v, and of the time there is left: %v", err, ctx.Err() == nil)
		}
		if !r.stopped {
			t.Error("what the client was made of is not stopped")
		}
	})
	t.Run("at the stop", func(t *testing.T) {
		url, heard := stuck(t, "220 hi", "250 hi")
		app := fx.New(options, config(url))
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			_, err := client.Send(t.Context(), &core.Message{To: core.Recipients("bob@example.net"), Body: core.String("")})
			sent <- err
		}()
		<-heard
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := app.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			t.Errorf("%v, and of the time there is left: %v", err, ctx.Err() == nil)
		}
		if !r.stopped {
			t.Error("what the client was made of is not stopped")
		}
		if err := <-sent; !errors.Is(err, core.ErrDisconnected) {
			t.Error(err)
		}
	})
}

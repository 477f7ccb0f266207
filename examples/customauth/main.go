// Customauth sends messages to a server that asks for the tickets of a company's
// own SASL mechanism, X-CORP-TICKET, and shows what comes of good, expired and
// forged ones.
//
// The mechanism is in ticket.go. Base64, line lengths, the cancel, TLS, the end of
// a session whose ticket has expired, and the choice among several mechanisms are
// not its business. The server is in the same process.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport/transportfx"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run plays all scenes, and prints what happens in them.
func run(ctx context.Context, stdout io.Writer) (err error) {
	key := []byte(rand.Text())
	server, err := startServer(key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	for _, scene := range []struct {
		title   string
		tickets tickets
		pause   time.Duration // between the messages
		refused bool
	}{
		{"A ticket for an hour: both messages go through one session", tickets{"ann", time.Hour, always(key)}, 0, false},
		{"A ticket for a second: the session ends with it, and the next one has another", tickets{"ann", time.Second, always(key)}, time.Second, false},
		{"A ticket that has expired", tickets{"ann", -time.Hour, always(key)}, 0, true},
		{"A ticket that is signed with another key", tickets{"ann", time.Hour, always([]byte(rand.Text()))}, 0, true},
	} {
		if _, err := fmt.Fprintln(stdout, scene.title); err != nil {
			return err
		}
		err := play(ctx, stdout, server, &scene.tickets, scene.pause)
		switch {
		case scene.refused && err == nil:
			return fmt.Errorf("%s: it was accepted", scene.title)
		case scene.refused && errors.Is(err, core.ErrCredentials):
			_, err = fmt.Fprintf(stdout, "  refused: %v\n\n", err)
		case err == nil:
			_, err = fmt.Fprintln(stdout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func always(key []byte) func() []byte { return func() []byte { return key } }

// play assembles a client and sends two messages with it, if the first one is
// accepted.
func play(ctx context.Context, stdout io.Writer, server *smtptest.Server, t *tickets, pause time.Duration) (err error) {
	var client *core.Client
	app := fx.New(
		corefx.Module, transportfx.Module,
		fx.Supply(core.Config{Endpoint: server.URL() + "?servername=" + serverName, TLS: server.Config().TLS}),
		corefx.AsMechanism(func() *tickets { return t }),
		corefx.AsMechanism(func() core.Mechanism { return mechanisms.Plain("ann", "for servers without tickets") }),
		corefx.AsInterceptor(corefx.Observe, func() core.Interceptor { return explain(stdout) }),
		fx.Populate(&client),
		fx.NopLogger,
	)
	if err := app.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Stop(context.WithoutCancel(ctx))) }()
	if err := send(ctx, stdout, client, server); err != nil {
		return err
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return ctx.Err()
	}
	return send(ctx, stdout, client, server)
}

// send sends a message, and prints what the server knows of it.
func send(ctx context.Context, stdout io.Writer, client *core.Client, server *smtptest.Server) error {
	_, err := client.Send(ctx, &core.Message{
		From: "ann@corp.example",
		To:   core.Recipients("bob@example.net"),
		Body: core.String("From: ann@corp.example\r\nSubject: hello\r\n\r\nBy ticket.\r\n"),
	})
	if err != nil {
		return err
	}
	messages := server.Messages()
	last := messages[len(messages)-1]
	_, err = fmt.Fprintf(stdout, "  accepted from %s by %s, on connection %d\n", last.User, last.Mechanism, last.Connection)
	return err
}

// explain prints which mechanism each session chooses, and why.
func explain(w io.Writer) core.Interceptor {
	return core.Interceptor{Name: "explain", Connect: func(next core.ConnectFunc) core.ConnectFunc {
		return func(ctx context.Context, c *core.Connect) error {
			err := next(ctx, c)
			_, printed := fmt.Fprintf(w, "  chosen: %v\n", c.Choice)
			return errors.Join(err, printed)
		}
	}}
}

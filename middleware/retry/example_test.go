package retry_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/transport"
)

// greylisting is a server that knows nobody at first.
type greylisting struct{ seen bool }

func (g *greylisting) NewSession(*smtp.Conn) (smtp.Session, error) { return g, nil }
func (g *greylisting) Mail(string, *smtp.MailOptions) error        { return nil }
func (g *greylisting) Reset()                                      {}
func (g *greylisting) Logout() error                               { return nil }

func (g *greylisting) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == "you@example.net" && !g.seen {
		g.seen = true
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "greylisted, come back"}
	}
	return nil
}

func (g *greylisting) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := smtp.NewServer(&greylisting{})
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()

	again, err := retry.New(retry.Config{
		InitialInterval: time.Millisecond, // a second, if left out
		Notify: func(_ context.Context, p retry.Pause) {
			fmt.Printf("attempt %d: %v\n", p.Attempt, p.Err)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewClient(core.Config{
		Endpoint:     "smtp://" + listener.Addr().String(),
		Transports:   transport.Standard(),
		Interceptors: []core.Interceptor{again},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	receipt, err := client.Send(context.Background(), &core.Message{
		From: "me@example.com",
		To:   core.Recipients("you@example.net", "them@example.net"),
		Body: core.String("From: me@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n"),
	})
	for _, r := range receipt.Recipients {
		fmt.Println(r.Address, r.Outcome, "in attempt", r.Attempts)
	}
	fmt.Println("error:", err)
	// Output:
	// attempt 1: rcpt: 450 4.2.0 greylisted, come back
	// you@example.net accepted in attempt 2
	// them@example.net accepted in attempt 1
	// error: <nil>
}

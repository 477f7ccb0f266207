package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/ratelimit"
	"github.com/postrider/postrider/transport"
)

// patient is a server that takes everything.
type patient struct{}

func (p patient) NewSession(*smtp.Conn) (smtp.Session, error) { return p, nil }
func (patient) Mail(string, *smtp.MailOptions) error          { return nil }
func (patient) Rcpt(string, *smtp.RcptOptions) error          { return nil }
func (patient) Reset()                                        {}
func (patient) Logout() error                                 { return nil }

func (patient) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// Two messages an hour for each domain of a sender, and none that waits.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := smtp.NewServer(patient{})
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()

	limit, err := ratelimit.New(ratelimit.Config{
		Messages: ratelimit.Rate{Count: 2, Per: time.Hour, Burst: 2},
		Key:      ratelimit.BySenderDomain,
		Refuse:   true,
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewClient(core.Config{
		Endpoint:     "smtp://" + listener.Addr().String(),
		Transports:   transport.Standard(),
		Interceptors: []core.Interceptor{limit},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	for _, from := range []string{"a@example.com", "b@example.com", "c@example.com", "a@example.org"} {
		receipt, err := client.Send(context.Background(), &core.Message{
			From: from,
			To:   core.Recipients("you@example.net"),
			Body: core.String("From: " + from + "\r\nSubject: Hello\r\n\r\nHello.\r\n"),
		})
		_, limited := errors.AsType[*ratelimit.LimitError](err)
		fmt.Println(from, receipt.Recipients[0].Outcome, limited)
	}
	// Output:
	// a@example.com accepted false
	// b@example.com accepted false
	// c@example.com deferred true
	// a@example.org accepted false
}

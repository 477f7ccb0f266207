package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

func ExampleClient_Send() {
	url, stop := server()
	defer stop()

	client, err := core.NewClient(core.Config{Endpoint: url, Transports: transport.Standard()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	receipt, err := client.Send(context.Background(), &core.Message{
		From: "alice@example.com",
		To:   core.Recipients("bob@example.net", "nobody@example.net"),
		Body: core.String("Subject: hello\r\n\r\nHello, Bob.\r\n"),
	})
	fmt.Println("error:", err)
	for _, r := range receipt.Recipients {
		fmt.Printf("%s: %s (%s)\n", r.Address, r.Outcome, r.Reply)
	}

	// Output:
	// error: 1 of 2 recipients accepted, 1 refused: rcpt: 550 5.1.1 no such mailbox
	// bob@example.net: accepted (250 2.0.0 OK: queued)
	// nobody@example.net: refused (550 5.1.1 no such mailbox)
}

func ExampleClient_SendAll() {
	url, stop := server()
	defer stop()

	client, err := core.NewClient(core.Config{
		Endpoint: url, Transports: transport.Standard(),
		MaxSessions: 1, PipelineDepth: 8, // eight messages under way on one session
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	customers := []string{"ann@example.net", "nobody@example.net", "bob@example.net"}
	issue := func(yield func(*core.Message) bool) {
		for _, to := range customers {
			m := &core.Message{From: "alice@example.com", To: core.Recipients(to), Body: core.String("Subject: news\r\n\r\nNews.\r\n")}
			if !yield(m) {
				return
			}
		}
	}
	results := make([]core.Result, len(customers)) // they come in the order of completion
	err = client.SendAll(context.Background(), issue, func(r core.Result) { results[r.Index] = r })
	fmt.Println("error:", err)
	for _, r := range results {
		fmt.Println(r.Message.To[0].Address, r.Receipt.Recipients[0].Outcome)
	}

	// Output:
	// error: 1 of 3 messages were not accepted for all recipients; the first: message 1: 0 of 1 recipients accepted, 1 refused: rcpt: 550 5.1.1 no such mailbox
	// ann@example.net accepted
	// nobody@example.net refused
	// bob@example.net accepted
}

func ExampleSession() {
	url, stop := server()
	defer stop()

	ctx := context.Background()
	s, err := core.Dial(ctx, core.Config{Endpoint: url, Transports: transport.Standard()})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println("greeting:", s.Peer().Greeting)

	if err := s.Hello(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("takes 8-bit content:", s.Peer().Extensions.Has("8BITMIME"))

	if err := s.Mail(ctx, "alice@example.com"); err != nil {
		log.Fatal(err)
	}
	for _, to := range []string{"bob@example.net", "nobody@example.net"} {
		_, err := s.Rcpt(ctx, to)
		switch {
		case errors.Is(err, core.ErrRecipientRefused):
			fmt.Println("refused:", err)
		case err != nil:
			log.Fatal(err)
		}
	}
	replies, err := s.Data(ctx, core.String("Subject: hello\r\n\r\nHello, Bob.\r\n"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("content:", replies[0])
	if err := s.Quit(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// greeting: 220 mx.example ESMTP Service Ready
	// takes 8-bit content: true
	// refused: rcpt: 550 5.1.1 no such mailbox
	// content: 250 2.0.0 OK: queued
}

// An interceptor is a value with a function for each kind of work that it wraps.
// This one suppresses addresses, adds a header field and prints the dialogue.
func ExampleInterceptor() {
	suppressed := map[string]bool{"bob@example.net": true}

	house := core.Interceptor{
		Name: "house-rules",
		Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				for i, to := range d.Message().To {
					if suppressed[to.Address] {
						d.Refuse(i, errors.New("on the suppression list"))
					}
				}
				return next(ctx, d)
			}
		},
		Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error {
				c.Prepend("X-Mailer: house\r\n")
				return next(ctx, c)
			}
		},
		Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
			return func(ctx context.Context, x *core.Exchange) error {
				err := next(ctx, x)
				for command, replies := range x.Pairs() {
					if command != nil { // nil is the greeting
						fmt.Println(command, "->", replies[0].Code)
					}
				}
				return err
			}
		},
	}

	url, stop := server()
	defer stop()
	client, err := core.NewClient(core.Config{
		Endpoint: url, Transports: transport.Standard(), LocalName: "client.example",
		Interceptors: []core.Interceptor{house},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Send(context.Background(), &core.Message{
		From: "alice@example.com", To: core.Recipients("bob@example.net", "carol@example.net"),
		Body: core.String("Subject: hello\r\n\r\nHello.\r\n"),
	})
	fmt.Println("error:", err)
	_ = client.Close()

	// Output:
	// EHLO client.example -> 250
	// MAIL FROM:<alice@example.com> SIZE=43 -> 250
	// RCPT TO:<carol@example.net> -> 250
	// BDAT 43 LAST [content] -> 250
	// error: 1 of 2 recipients accepted, 1 refused: policy: on the suppression list
	// QUIT -> 221
}

// Ticket is a mechanism of one's own: a name, and the octets to send. Base64,
// line lengths and cancelling are the session's.
type Ticket struct {
	Fetch func(ctx context.Context) (string, error)
}

// Name is what the server announces behind AUTH.
func (Ticket) Name() string { return "X-TICKET" }

// Start is called for each session. What it returns with the authentication is
// the initial response.
func (t Ticket) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	ticket, err := t.Fetch(ctx)
	if err != nil {
		return nil, nil, err
	}
	return ticketRun{}, []byte(ticket), nil
}

// ticketRun is one authentication.
type ticketRun struct{}

// Next answers a challenge.
func (ticketRun) Next(_ context.Context, challenge []byte) ([]byte, error) {
	return []byte("yes to " + string(challenge)), nil
}

// Done is the last word: a mechanism that authenticates the server, too, checks
// it here.
func (ticketRun) Done(context.Context) error { return nil }

func ExampleMechanism() {
	url, stop := server()
	defer stop()

	client, err := core.NewClient(core.Config{
		Endpoint: url, Transports: transport.Standard(),
		Auth: []core.Mechanism{Ticket{Fetch: func(context.Context) (string, error) { return "ticket 42", nil }}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	receipt, err := client.Send(context.Background(), &core.Message{
		From: "alice@example.com", To: core.Recipients("bob@example.net"), Body: core.String("Subject: hello\r\n\r\nHello.\r\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.Recipients[0].Outcome, "after", receipt.Peer.Mechanism)

	// Output:
	// accepted after X-TICKET
}

// server is a mail server in this process, for the examples: it takes X-TICKET,
// and accepts mail for anybody but nobody.
func server() (url string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return mailbox{}, nil }))
	s.Domain, s.AllowInsecureAuth, s.ErrorLog = "mx.example", true, log.New(io.Discard, "", 0)
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	return "smtp://" + l.Addr().String(), func() {
		_ = s.Close()
		<-done
	}
}

type mailbox struct{}

func (mailbox) Reset()                                {}
func (mailbox) Logout() error                         { return nil }
func (mailbox) Mail(string, *smtp.MailOptions) error  { return nil }
func (mailbox) AuthMechanisms() []string              { return []string{"X-TICKET"} }
func (mailbox) Auth(name string) (sasl.Server, error) { return &ticketServer{}, nil }

func (mailbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	}
	return nil
}

func (mailbox) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// ticketServer is the other side of Ticket.
type ticketServer struct{ rounds int }

func (s *ticketServer) Next(response []byte) (challenge []byte, done bool, err error) {
	s.rounds++
	switch {
	case s.rounds == 1 && string(response) == "ticket 42":
		return []byte("really?"), false, nil
	case s.rounds == 2 && string(response) == "yes to really?":
		return nil, true, nil
	}
	return nil, false, errors.New("no such ticket")
}

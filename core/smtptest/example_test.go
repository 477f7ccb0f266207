package smtptest_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func ExampleStartServer() {
	server, err := smtptest.StartServer(smtptest.ServerOptions{
		Rcpt: func(e smtptest.Envelope, to smtptest.Recipient) *core.Reply {
			if strings.HasPrefix(to.Address, "nobody@") {
				return smtptest.Reply("550 5.1.1 no such mailbox")
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	client, err := core.NewClient(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Send(context.Background(), &core.Message{
		From: "alice@example.com",
		To:   core.Recipients("bob@example.net", "nobody@example.net"),
		Body: core.String("Subject: hello\r\n\r\nHello, Bob.\r\n"),
	})
	fmt.Println("error:", err)

	for _, m := range server.Messages() {
		fmt.Printf("from %s to %v: %q\n", m.From, m.To, m.Content)
	}

	// Output:
	// error: 1 of 2 recipients accepted, 1 refused: rcpt: 550 5.1.1 no such mailbox
	// from alice@example.com to [bob@example.net]: "Subject: hello\r\n\r\nHello, Bob.\r\n"
}

// A test has no more to do than this: the server ends with it.
func ExampleNewServer() {
	var t *testing.T // the test's

	server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true})
	client, err := core.NewClient(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// Use the client, then look at what came.
	messages, err := server.Wait(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if m := messages[0]; m.TLS == nil || fmt.Sprint(m.To) != "[bob@example.net]" {
		t.Errorf("got %+v", m)
	}
}

// In LMTP each recipient has a reply of its own, after the content.
func ExampleServerOptions() {
	server, err := smtptest.StartServer(smtptest.ServerOptions{
		Protocol: core.LMTP,
		DSN:      true,
		Deliver: func(m smtptest.Message, to smtptest.Recipient) *core.Reply {
			if to.Address == "full@example.net" {
				return smtptest.Reply("452 4.2.2 mailbox full")
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	client, err := core.NewClient(server.Config())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	receipt, _ := client.Send(context.Background(), &core.Message{
		From: "alice@example.com",
		To: []core.Recipient{
			{Address: "bob@example.net", Params: []core.Param{core.Parameter("DSN", "NOTIFY", "NEVER")}},
			{Address: "full@example.net"},
		},
		Body: core.String("Subject: hello\r\n\r\nHello.\r\n"),
	})
	for _, r := range receipt.Recipients {
		fmt.Println(r.Address, "is", r.Outcome)
	}
	fmt.Println("kept for", server.Messages()[0].To)

	// Output:
	// bob@example.net is accepted
	// full@example.net is deferred
	// kept for [bob@example.net NOTIFY=NEVER]
}

// The server goes away after the content, and nobody knows whether it took the
// message.
func ExampleStartScript() {
	script, err := smtptest.StartScript(`
		S: 220 mx.example ESMTP
		C: EHLO client.example
		S: 250-mx.example
		S: 250 PIPELINING
		C: MAIL FROM:<alice@example.com>
		C| RCPT TO:<bob@example.net>
		C| DATA
		S: 250 ok
		S: 250 ok
		S: 354 go on
		CONTENT
		CLOSE
	`, smtptest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewClient(script.Config())
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := client.Send(context.Background(), &core.Message{
		From: "alice@example.com", To: core.Recipients("bob@example.net"),
		Body: core.String("Subject: hello\r\n\r\nHello, Bob.\r\n"),
	})
	fmt.Println(receipt.Recipients[0].Outcome, err != nil)
	_ = client.Close()
	fmt.Println("complaint:", script.Close())

	// Output:
	// unknown true
	// complaint: <nil>
}

// A complaint names the step, and both sides of it.
func ExampleScript_Close() {
	script, err := smtptest.StartScript(`
		S: 220 mx.example ESMTP
		C: EHLO mail.example
	`, smtptest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	session, err := core.Dial(context.Background(), script.Config())
	if err != nil {
		log.Fatal(err)
	}
	_ = session.Hello(context.Background())
	_ = session.Close()
	fmt.Println(script.Close())

	// Output:
	// connection 1, line 3 of the dialogue
	// 	step: C: EHLO mail.example
	// 	want: "EHLO mail.example\r\n"
	// 	got:  "EHLO client.example\r\n"
}

// In a test the complaints are the test's, and there is nothing to close.
func ExampleNewScript() {
	var t *testing.T // the test's

	script := smtptest.NewScript(t, `
		S: 220 mx.example ESMTP
		C: EHLO client.example
		S: 421 4.3.2 not today
	`, smtptest.Options{})
	session, err := core.Dial(t.Context(), script.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.Hello(t.Context()); core.ClassOf(err) != core.Temporary {
		t.Errorf("Hello: %v", err)
	}
}

// A mechanism that asks for a ticket, as the server sees it.
func ExampleAuthFunc() {
	server, err := smtptest.StartServer(smtptest.ServerOptions{
		RequireAuth: true,
		Mechanisms: map[string]smtptest.AuthFunc{
			"X-TICKET": func(responses [][]byte) smtptest.AuthStep {
				switch {
				case len(responses) == 1:
					return smtptest.AuthStep{Challenge: []byte("ticket?")}
				case string(responses[1]) == "ticket 42":
					return smtptest.AuthStep{User: "alice"}
				}
				return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no such ticket")}
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	config := server.Config()
	config.Auth = []core.Mechanism{holder("ticket 42")} // the client's side
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	_, err = client.Send(context.Background(), &core.Message{
		From: "alice@example.com", To: core.Recipients("bob@example.net"),
		Body: core.String("Subject: hello\r\n\r\nHello, Bob.\r\n"),
	})
	m := server.Messages()[0]
	fmt.Println(err, m.User, m.Mechanism)

	// Output:
	// <nil> alice X-TICKET
}

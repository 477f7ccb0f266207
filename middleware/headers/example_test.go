package headers_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/headers"
)

func Example() {
	server, err := smtptest.StartServer(smtptest.ServerOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	complete, err := headers.New(headers.Config{
		LeaveMessageID: true, // it would be another one each time
		Now:            func() time.Time { return time.Date(2026, time.February, 3, 12, 0, 0, 0, time.UTC) },
		Set:            []headers.Field{{Name: "Reply-To", Value: "Jörg <joerg@example.com>"}},
		Add: []headers.Field{{Name: "X-Envelope-To", Func: func(m *core.Message) string {
			return fmt.Sprint(len(m.To), " recipients")
		}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	config := server.Config()
	config.Interceptors = []core.Interceptor{complete} // before a signer, if there is one
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	_, err = client.Send(context.Background(), &core.Message{
		From: "me@example.com",
		To:   core.Recipients("you@example.net", "hidden@example.net"),
		Body: core.String("From: me@example.com\r\nTo: you@example.net\r\nBcc: hidden@example.net\r\nSubject: Hello\r\n\r\nHello.\r\n"),
	})
	fmt.Println("error:", err)
	fmt.Print(strings.ReplaceAll(string(server.Messages()[0].Content), "\r\n", "\n"))
	// Output:
	// error: <nil>
	// From: me@example.com
	// To: you@example.net
	// Subject: Hello
	// Date: Tue, 3 Feb 2026 12:00:00 +0000
	// Reply-To: =?utf-8?q?J=C3=B6rg?= <joerg@example.com>
	// X-Envelope-To: 2 recipients
	//
	// Hello.
}

package breaker_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/breaker"
	"github.com/postrider/postrider/transport"
)

// The first of two servers is down. The second takes the mail, and after three
// failures nobody tries the first for a while.
func Example() {
	server, err := smtptest.StartServer(smtptest.ServerOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = server.Close() }()

	rest, err := breaker.New(breaker.Config{
		Notify: func(e core.Endpoint, from, to core.BreakerState) { fmt.Println("the first is", to) },
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewClient(core.Config{
		Endpoints:    []string{"smtp://" + nobody(), server.URL()},
		Transports:   transport.Standard(),
		Interceptors: []core.Interceptor{rest},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	for range 4 {
		_, err := client.Send(context.Background(), &core.Message{
			From: "me@example.com",
			To:   core.Recipients("you@example.net"),
			Body: core.String("Subject: Hello\r\n\r\nHello.\r\n"),
		})
		fmt.Println("error:", err)
	}
	// Output:
	// error: <nil>
	// error: <nil>
	// the first is open
	// error: <nil>
	// error: <nil>
}

// nobody returns an address of this machine where nobody listens.
func nobody() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

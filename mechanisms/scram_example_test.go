package mechanisms_test

import (
	"context"
	"fmt"
	"log"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// With SCRAM the server never sees the password, and proves that it knows it.
// With -PLUS nobody can stand between.
func ExampleSCRAM() {
	server, err := smtptest.StartServer(smtptest.ServerOptions{
		ImplicitTLS: true,
		Users:       map[string]string{"alice": "open sesame"},
		SCRAM:       []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"},
		RequireAuth: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	config := server.Config()
	config.Auth = []core.Mechanism{
		mechanisms.SCRAM{Plus: true, MinIterations: 4096}.Mechanism("alice", "open sesame"),
		mechanisms.SCRAMSHA256("alice", "open sesame"), // for a server that cannot do better
	}
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	receipt, err := client.Send(context.Background(), &core.Message{
		From: "alice@example.com", To: core.Recipients("bob@example.net"),
		Body: core.String("Subject: hello\r\n\r\nHello, Bob.\r\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.Peer.Mechanism)

	// Output:
	// SCRAM-SHA-256-PLUS
}

package mechanisms_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/transport"
)

// A password is all that most clients need. The first mechanism that the server
// offers, too, is used; printing them shows no secret.
func ExamplePassword() {
	config := core.Config{
		Endpoint:   "smtps://mail.example.com",
		Transports: transport.Standard(),
		Auth:       mechanisms.Password("alice@example.com", "open sesame"),
	}
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(config.Auth)

	// Output:
	// [SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN]
}

// PlainAs acts for another user, where the server allows that.
func ExamplePlainAs() {
	_, initial, err := mechanisms.PlainAs("Ursel", "Kurt", "xipj3plmq").Start(context.Background(), &core.Peer{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("AUTH PLAIN", base64.StdEncoding.EncodeToString(initial))

	// Output:
	// AUTH PLAIN VXJzZWwAS3VydAB4aXBqM3BsbXE=
}

package gssapi_test

import (
	"fmt"
	"log"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms/gssapi"
	"github.com/postrider/postrider/transport"
)

// A service with a keytab of its own. Printing the mechanism shows no secret.
func Example() {
	config := core.Config{
		Endpoint:   "smtp://mail.example.com:587",
		Transports: transport.Standard(),
		Auth:       []core.Mechanism{gssapi.Keytab("robot@EXAMPLE.COM", "/etc/robot.keytab", gssapi.Config{})},
	}
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(config.Auth)

	// Output:
	// [GSSAPI]
}

// Somebody who has called kinit acts for a shared mailbox, on a server whose
// name in the DNS is an alias.
func ExampleCCache() {
	m := gssapi.CCache("/tmp/krb5cc_1000", gssapi.Config{
		SPN:      "smtp/mx1.example.com",
		Identity: "support",
	})
	fmt.Println(m)

	// Output:
	// GSSAPI
}

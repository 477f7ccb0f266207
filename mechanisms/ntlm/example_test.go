package ntlm_test

import (
	"fmt"
	"log"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms/ntlm"
	"github.com/postrider/postrider/transport"
)

// An Exchange server that offers NTLM. Printing the mechanism shows no secret.
func Example() {
	config := core.Config{
		Endpoint:   "smtp://exchange.example.com:587",
		Transports: transport.Standard(),
		Auth:       []core.Mechanism{ntlm.New(`EXAMPLE\alice`, "open sesame")},
	}
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(config.Auth)

	// Output:
	// [NTLM]
}

// Corp-auth is a plugin with the mechanism X-CORP-TICKET. The key is in a file that
// it reads itself: the mailer never has it.
package main

import (
	"bytes"
	"flag"
	"os"

	"github.com/postrider/postrider/examples/plugin-auth/ticket"
	"github.com/postrider/postrider/plugins/sdk"
)

func main() {
	user := flag.String("user", "", "who the tickets are for")
	file := flag.String("key", "", "the file that holds the key")
	flag.Parse()
	key, err := os.ReadFile(*file)
	if err != nil {
		sdk.Logger().Error("there is no key", "error", err)
		os.Exit(1)
	}
	sdk.Logger().Info("tickets will be signed", "user", *user)
	sdk.Serve(sdk.Info("corp-auth", "1.0.0"), sdk.Mechanism(ticket.New(*user, bytes.TrimSpace(key))))
}

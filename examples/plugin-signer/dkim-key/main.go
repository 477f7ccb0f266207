// Dkim-key is a plugin that signs with a DKIM key. It reads the key itself: the
// mailer has the public key alone. A key in hardware is any other crypto.Signer.
package main

import (
	"flag"
	"os"

	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/plugins/sdk"
)

func main() {
	file := flag.String("key", "", "the file that holds the private key, in PEM")
	flag.Parse()
	key, err := dkim.LoadKey(*file)
	if err != nil {
		sdk.Logger().Error("there is no key", "error", err)
		os.Exit(1)
	}
	sdk.Serve(sdk.Info("dkim-key", "1.0.0"), sdk.Signer("corp.example", key))
}

//go:build unix

package plugins_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// A plugin is started before the client that uses it, and closed after it.
func Example() {
	ctx := context.Background()
	self, err := os.Executable() // "/usr/lib/mailer/corp-auth"
	if err != nil {
		log.Fatal(err)
	}
	plugin, err := plugins.Start(ctx, plugins.Config{
		Path: self,
		Env:  []string{modeVariable + "=well"},
		Log:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := plugin.Close(ctx); err != nil {
			log.Print(err)
		}
	}()
	mechanism, err := plugin.Mechanism("X-TEST")
	if err != nil {
		log.Fatal(err)
	}
	_ = core.Config{Auth: []core.Mechanism{mechanism}}
	fmt.Println(plugin.Status().State, plugin.About().Mechanisms)
	// Output: ready [X-TEST]
}

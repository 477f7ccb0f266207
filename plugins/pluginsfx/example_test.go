//go:build unix

package pluginsfx_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/pluginsfx"
	"github.com/postrider/postrider/transport/transportfx"
)

// NewPlugins declares the plugins. An application reads this from its own
// configuration, of which it can be a part.
func NewPlugins() (pluginsfx.Config, error) {
	self, err := os.Executable() // "/usr/lib/mailer/corp-auth"
	return pluginsfx.Config{Plugins: []plugins.Declaration{{
		Config: plugins.Config{Path: self, Name: "auth", Env: []string{modeVariable + "=auth"}},
		Use:    &plugins.Use{Mechanisms: []string{"PLAIN"}},
	}}}, err
}

// NewConfig says where to send to.
func NewConfig() core.Config { return core.Config{Endpoint: "smtps://mail.example.com"} }

// NewLogger is the application's, and so the plugins'.
func NewLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A plugin runs from the start of the application to its stop. Its mechanisms are
// those of the client.
func Example() {
	var set *pluginsfx.Set
	app := fx.New(
		corefx.Module, transportfx.Module, pluginsfx.Module,
		fx.Provide(NewConfig, NewPlugins, NewLogger),
		fx.Invoke(func(*core.Client) {}),
		fx.Populate(&set), fx.NopLogger,
	)
	ctx := context.Background()
	fmt.Println(set.Status()["auth"].State)
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Status()["auth"].State)
	if err := app.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Status()["auth"].State)
	// Output:
	// closed
	// ready
	// closed
}

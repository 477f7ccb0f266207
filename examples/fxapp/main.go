// Fxapp is a mailer service that is assembled with go.uber.org/fx: an HTTP server
// on this machine takes messages (POST /send), and answers with what became of
// each recipient.
//
// Without flags it needs nothing: it starts a mail server in its own process,
// sends one message through itself, and stops. -h lists the flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms/mechanismsfx"
	"github.com/postrider/postrider/plugins/pluginsfx"
	"github.com/postrider/postrider/transport/transportfx"
)

// service returns the application. Its constructors are in mail.go,
// interceptors.go and api.go.
func service(s settings, log *slog.Logger) fx.Option {
	return fx.Options(
		corefx.Module, transportfx.Module, mechanismsfx.Module, pluginsfx.Module, connecting(s),
		fx.Supply(s, log), fx.WithLogger(newEventLogger), fx.StopTimeout(s.stopTimeout),
		fx.Provide(newConfig, newCredentials, newPlugins, newAPI),
		corefx.AsInterceptor(corefx.Observe, newTelemetry),
		corefx.AsInterceptor(corefx.Observe, newLogging),
		corefx.AsInterceptor(corefx.Admit, newAudience),
		corefx.AsInterceptor(corefx.Retry, newRetry),
		corefx.AsInterceptor(corefx.Transform, newAutoSubmitted),
		fx.Invoke(func(*api) {}),
	)
}

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

// run is the program. It returns its exit status.
func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, err := parse(args, getenv)
	log := slog.New(slog.NewTextHandler(stderr, nil))
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprint(stdout, usage)
		return 0
	case err == nil && s.demo:
		err = demonstrate(stdout, log)
	case err == nil:
		err = serve(service(s, log), func(app *fx.App) error {
			if signal := <-app.Wait(); signal.ExitCode != 0 { // an interrupt, a SIGTERM, or the HTTP server's end
				return fmt.Errorf("stopped with status %d", signal.ExitCode)
			}
			return nil
		})
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "fxapp:", err)
		return 1
	}
	return 0
}

// serve runs an application until a function returns.
func serve(options fx.Option, until func(*fx.App) error) error {
	app := fx.New(options)
	ctx, cancel := context.WithTimeout(context.Background(), app.StartTimeout())
	defer cancel()
	if err := app.Start(ctx); err != nil {
		return err
	}
	err := until(app)
	ctx, cancel = context.WithTimeout(context.Background(), app.StopTimeout())
	defer cancel()
	return errors.Join(err, app.Stop(ctx))
}

// Plugin-transport is a mailer that reaches its server through an SSH gateway, by a
// transport that is in a plugin: the key for the gateway is in another process. TLS
// is between the mailer and the server, so neither the plugin nor the gateway sees
// the message.
//
// The plugin is in the folder ssh-tunnel; the gateway and the server are in this
// process. The plugin is built first, by go build.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends a message through the tunnel.
func run(ctx context.Context, stdout io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "plugin-transport")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	server, err := smtptest.StartServer(smtptest.ServerOptions{StartTLS: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	forwarded := make(chan string, 10)
	gateway, err := startGateway(folder, func(address string) { forwarded <- address })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gateway.Close()) }()
	config, err := install(ctx, folder, gateway.Address())
	if err != nil {
		return err
	}
	plugin, err := plugins.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plugin.Close(context.WithoutCancel(ctx))) }()
	about := plugin.About()
	fmt.Fprintf(stdout, "The plugin %s %s has a transport for %v.\n", about.Name, about.Version, about.Transports)
	if err := send(ctx, plugin, server, stdout); err != nil {
		return err
	}
	if got := <-forwarded; !strings.HasSuffix(server.URL(), got) {
		return fmt.Errorf("the gateway has forwarded a connection to %s", got)
	}
	fmt.Fprintln(stdout, "The gateway has forwarded the connection.")
	return nil
}

// install builds the plugin: what a package does on a real machine. It returns how
// the mailer declares it.
func install(ctx context.Context, folder, gateway string) (plugins.Config, error) {
	binary := filepath.Join(folder, "ssh-tunnel")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/postrider/postrider/examples/plugin-transport/ssh-tunnel")
	if output, err := build.CombinedOutput(); err != nil {
		return plugins.Config{}, fmt.Errorf("%w: %s", errors.Join(ctx.Err(), err), output)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return plugins.Config{}, err
	}
	return plugins.Config{
		Name:   "ssh-tunnel",
		Path:   binary,
		SHA256: fmt.Sprintf("%x", sha256.Sum256(program)),
		Args: []string{
			"-gateway", gateway,
			"-key", filepath.Join(folder, "key.pem"), // the name of the file, and not the key
			"-host-key", filepath.Join(folder, "host.pub"),
		},
		Log: slog.New(slog.DiscardHandler),
	}, nil
}

// send sends a message by the plugin's transport.
func send(ctx context.Context, plugin *plugins.Plugin, server *smtptest.Server, stdout io.Writer) (err error) {
	tunnel, err := plugin.Transport("smtp+ssh")
	if err != nil {
		return err
	}
	config := server.Config() // which trusts the server's certificate
	config.Transports = []core.Transport{tunnel}
	config.Endpoint = "smtp+ssh://" + strings.TrimPrefix(server.URL(), "smtp://")
	client, err := core.NewClient(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	receipt, err := client.Send(ctx, &core.Message{
		From: "ann@example.com",
		To:   core.Recipients("bob@example.net"),
		Body: core.String("From: ann@example.com\r\nSubject: hello\r\n\r\nThrough the tunnel.\r\n"),
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "The message was accepted, under TLS: %v.\n", receipt.Peer.TLS != nil && receipt.Peer.TLSError == nil)
	return nil
}

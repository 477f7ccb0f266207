// Plugin-auth is a mailer that authenticates by a plugin: a program of its own, which
// is verified and supervised, and which alone has the key. It sends messages to a
// server that asks for the tickets of the plugin, kills the plugin, and shows what
// becomes of it.
//
// The mechanism is in the folder ticket, the plugin in the folder corp-auth; the
// server is in this process. The plugin is built first, by go build.
package main

import (
	"context"
	"crypto/rand"
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
	"github.com/postrider/postrider/examples/plugin-auth/ticket"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/transport"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run plays all scenes, and prints what happens in them.
func run(ctx context.Context, stdout io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "plugin-auth")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	key := rand.Text()
	server, err := startServer([]byte(key))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	config, err := install(ctx, folder, key)
	if err != nil {
		return err
	}

	tampered := config
	tampered.SHA256 = strings.Repeat("0", 64)
	if _, err := plugins.Start(ctx, tampered); !errors.Is(err, plugins.ErrChecksum) {
		return fmt.Errorf("a binary with another checksum is not refused: %w", err)
	}
	fmt.Fprintln(stdout, "A binary that is not the declared one is not run.")
	return play(ctx, stdout, server, config)
}

// install builds the plugin and writes its key: what a package does on a real
// machine. It returns how the mailer declares the plugin.
func install(ctx context.Context, folder, key string) (plugins.Config, error) {
	binary, keyFile := filepath.Join(folder, "corp-auth"), filepath.Join(folder, "key")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/postrider/postrider/examples/plugin-auth/corp-auth")
	if output, err := build.CombinedOutput(); err != nil {
		return plugins.Config{}, fmt.Errorf("%w: %s", err, output)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return plugins.Config{}, err
	}
	return plugins.Config{
		Name:   "corp-auth",
		Path:   binary,
		SHA256: fmt.Sprintf("%x", sha256.Sum256(program)),
		Args:   []string{"-user", "ann", "-key", keyFile}, // the name of the file, and not the key
		Log:    slog.New(slog.DiscardHandler),
	}, os.WriteFile(keyFile, []byte(key), 0o600)
}

// play sends messages by the plugin, and kills it in between.
func play(ctx context.Context, stdout io.Writer, server *smtptest.Server, config plugins.Config) (err error) {
	changes := make(chan plugins.Status, 16)
	config.Observe = func(s plugins.Status) { changes <- s }
	plugin, err := plugins.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plugin.Close(context.WithoutCancel(ctx))) }()
	about := plugin.About()
	fmt.Fprintf(stdout, "The plugin %s %s has %v.\n", about.Name, about.Version, about.Mechanisms)

	mechanism, err := plugin.Mechanism(ticket.Name)
	if err != nil {
		return err
	}
	client, err := core.NewClient(core.Config{
		Endpoint: server.URL() + "?servername=" + serverName, TLS: server.Config().TLS,
		Transports: transport.Standard(), Auth: []core.Mechanism{mechanism},
		IdleTimeout: -1, // each message on a session of its own
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := send(ctx, stdout, client, server); err != nil {
		return err
	}

	process, err := os.FindProcess(plugin.Status().PID)
	if err != nil {
		return err
	}
	if err := errors.Join(process.Kill(), process.Release()); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "The plugin is killed.")
	if err := restarted(ctx, changes); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "It was started again.")
	return send(ctx, stdout, client, server)
}

// restarted waits until the plugin has another process.
func restarted(ctx context.Context, changes <-chan plugins.Status) error {
	for {
		select {
		case s := <-changes:
			if s.State == plugins.Ready && s.Restarts > 0 {
				return nil
			}
			if s.State == plugins.Disabled {
				return s.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send sends a message, and prints what the server knows of it.
func send(ctx context.Context, stdout io.Writer, client *core.Client, server *smtptest.Server) error {
	_, err := client.Send(ctx, &core.Message{
		From: "ann@corp.example",
		To:   core.Recipients("bob@example.net"),
		Body: core.String("From: ann@corp.example\r\nSubject: hello\r\n\r\nBy ticket.\r\n"),
	})
	if err != nil {
		return err
	}
	messages := server.Messages()
	last := messages[len(messages)-1]
	_, err = fmt.Fprintf(stdout, "A message is accepted from %s by %s.\n", last.User, last.Mechanism)
	return err
}

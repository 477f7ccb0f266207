// Plugin-policy is a mailer that asks a plugin who is to get a message. The plugin
// refuses recipients and redirects them, and learns from what becomes of messages
// which mailboxes do not exist. It is killed in between, and remembers.
//
// The plugin is in the folder corp-policy; the server is in this process. The plugin
// is built first, by go build.
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
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/transport"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends three messages, with a plugin that is killed before the last one.
func run(ctx context.Context, stdout io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "plugin-policy")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	config, err := install(ctx, folder)
	if err != nil {
		return err
	}
	states := make(chan plugins.Status, 100)
	config.Observe = func(s plugins.Status) { states <- s }
	plugin, err := plugins.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plugin.Close(context.WithoutCancel(ctx))) }()
	about := plugin.About()
	fmt.Fprintf(stdout, "The plugin %s %s has %v.\n", about.Name, about.Version, about.Interceptors)
	policy, err := plugin.Interceptor("recipients")
	if err != nil {
		return err
	}
	server, err := smtptest.StartServer(smtptest.ServerOptions{Rcpt: mailboxes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	client, err := core.NewClient(core.Config{
		Endpoint: server.URL(), Transports: transport.Standard(),
		Interceptors: []core.Interceptor{policy}, // in front of retry, and of what signs
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	send(ctx, stdout, client, server, "bob@example.net", "gone@example.net", "sales@corp.example")
	send(ctx, stdout, client, server, "gone@example.net", "bob@example.net")
	if err := end(plugin.Status().PID); err != nil {
		return err
	}
	if err := await(ctx, states); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "The plugin was killed, and is there again.")
	send(ctx, stdout, client, server, "gone@example.net")
	return nil
}

// mailboxes replies to RCPT.
func mailboxes(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
	if to.Address == "gone@example.net" {
		return smtptest.Reply("550 5.1.1 no such mailbox")
	}
	return nil
}

// install builds the plugin: what a package does on a real machine. It returns how
// the mailer declares it.
func install(ctx context.Context, folder string) (plugins.Config, error) {
	binary := filepath.Join(folder, "corp-policy")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/postrider/postrider/examples/plugin-policy/corp-policy")
	if output, err := build.CombinedOutput(); err != nil {
		return plugins.Config{}, fmt.Errorf("%w: %s", errors.Join(ctx.Err(), err), output)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return plugins.Config{}, err
	}
	return plugins.Config{
		Name:    "corp-policy",
		Path:    binary,
		SHA256:  fmt.Sprintf("%x", sha256.Sum256(program)),
		Args:    []string{"-gone", filepath.Join(folder, "gone")},
		Log:     slog.New(slog.DiscardHandler),
		Restart: plugins.Restart{Initial: 10 * time.Millisecond},
	}, nil
}

// send sends a message, and prints what became of it.
func send(ctx context.Context, stdout io.Writer, client *core.Client, server *smtptest.Server, to ...string) {
	before := len(server.Messages())
	receipt, err := client.Send(ctx, &core.Message{
		From: "ann@corp.example", To: core.Recipients(to...),
		Body: core.String("From: ann@corp.example\r\nSubject: hello\r\n\r\nHi.\r\n"),
	})
	if receipt == nil {
		fmt.Fprintln(stdout, err)
		return
	}
	for _, r := range receipt.Recipients {
		fmt.Fprintf(stdout, "  %s: %s", r.Address, r.Outcome)
		if r.Err != nil {
			fmt.Fprintf(stdout, ": %v", r.Err)
		}
		fmt.Fprintln(stdout)
	}
	for _, m := range server.Messages()[before:] {
		fmt.Fprintf(stdout, "  It has arrived for %v.\n", m.To)
	}
}

// end kills a process.
func end(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return errors.Join(p.Kill(), p.Release())
}

// await waits until the plugin was started again.
func await(ctx context.Context, states <-chan plugins.Status) error {
	for {
		select {
		case s := <-states:
			switch {
			case s.State == plugins.Ready && s.Restarts > 0:
				return nil
			case s.State == plugins.Disabled:
				return s.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

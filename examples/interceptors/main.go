// Interceptors shows how little it takes to write one. Each has a file of its
// own: policy.go, suppression.go, idempotency.go and journal.go; and capture.go
// has what is better done by a transport.
//
// It runs them all against a server in its own process, and prints what became of
// each message.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run sends some messages twice: through a pipeline to a server, and through the
// same pipeline to a folder.
func run(ctx context.Context, stdout io.Writer) (err error) {
	temp, err := os.MkdirTemp("", "interceptors-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	archive, staging := filepath.Join(temp, "archive"), filepath.Join(temp, "staging")
	if err := errors.Join(os.Mkdir(archive, 0o700), os.Mkdir(staging, 0o700)); err != nil {
		return err
	}
	server, err := smtptest.StartServer(smtptest.ServerOptions{Remote: true, StartTLS: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	production := server.Config()
	production.TLS.MaxVersion = tls.VersionTLS12 // as if the server knew no better
	production.Interceptors = pipeline(folder(archive))
	if err := send(ctx, stdout, "A server", production); err != nil {
		return err
	}
	if err := list(stdout, "The journal", folder(archive)); err != nil {
		return err
	}
	stage := core.Config{
		Endpoint: "capture://" + filepath.ToSlash(staging), Transports: []core.Transport{capture{}},
		Interceptors: pipeline(folder(archive)),
	}
	if err := send(ctx, stdout, "A folder in place of the server", stage); err != nil {
		return err
	}
	if err := list(stdout, "The folder", folder(staging)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\nThe server has got %d messages.\n", len(server.Messages()))
	return err
}

// pipeline returns the interceptors in their order.
func pipeline(archive folder) []core.Interceptor {
	rules := policy{
		mostOctets:     1000,
		mostRecipients: 3,
		noMail:         func(domain string) bool { return domain == "competitor.example" },
		leastTLS: func(m *core.Message) uint16 {
			if m.From == "salaries@example.com" {
				return tls.VersionTLS13
			}
			return 0
		},
	}
	unsubscribed := func(_ context.Context, address string) (bool, error) { return address == "gone@example.net", nil }
	return []core.Interceptor{
		rules.interceptor(),
		suppression(unsubscribed),
		idempotency(newMemory(24*time.Hour), keyOf),
		journal{archive}.interceptor(),
	}
}

// send sends the messages of the demonstration, and prints what became of each
// recipient.
func send(ctx context.Context, w io.Writer, title string, config core.Config) error {
	client, err := core.NewClient(config)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if _, err := fmt.Fprintf(w, "\n%s: %s\n", title, strings.Join(client.Pipeline(), ", ")); err != nil {
		return err
	}
	for _, m := range []struct {
		title, key string
		from       string
		to         []string
		text       string
	}{
		{"an order", "order 1", "shop@example.com", []string{"ann@example.net", "Gone@Example.NET"}, "Thank you."},
		{"the same, again", "order 1", "shop@example.com", []string{"ann@example.net"}, "Thank you."},
		{"one to a domain that gets none", "order 2", "shop@example.com", []string{"bob@example.net", "eve@competitor.example"}, "Thank you."},
		{"a large one", "order 3", "shop@example.com", []string{"ann@example.net"}, strings.Repeat("Thank you. ", 100)},
		{"one to too many", "order 4", "shop@example.com", []string{"a@example.net", "b@example.net", "c@example.net", "d@example.net"}, "Thank you."},
		{"one that needs TLS 1.3", "order 5", "salaries@example.com", []string{"ann@example.net"}, "It is more."},
	} {
		receipt, _ := client.Send(withKey(ctx, m.key), &core.Message{
			From: m.from,
			To:   core.Recipients(m.to...),
			Body: core.String("From: <" + m.from + ">\r\nSubject: " + m.title + "\r\n\r\n" + m.text + "\r\n"),
		})
		if _, err := fmt.Fprintf(w, "  %s\n", m.title); err != nil {
			return err
		}
		for _, r := range receipt.Recipients { // they have the error, too
			why := r.Reply.String()
			if r.Err != nil {
				why = r.Err.Error()
			}
			if _, err := fmt.Fprintf(w, "    %-8s  %-22s  %s\n", r.Outcome, r.Address, why); err != nil {
				return err
			}
		}
	}
	return nil
}

// list prints what is in a folder.
func list(w io.Writer, title string, f folder) error {
	messages, err := f.read()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s has %d messages:\n", title, len(messages)); err != nil {
		return err
	}
	for _, m := range messages {
		if _, err := fmt.Fprintf(w, "  from %s to %s, %d octets\n", m.From, strings.Join(m.To, ", "), len(m.content)); err != nil {
			return err
		}
	}
	return nil
}

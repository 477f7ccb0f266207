// Lmtp delivers one message over LMTP (RFC 2033), to a server's Unix socket for
// example, and shows what became of each recipient: after the content LMTP has a
// reply for each of them, where SMTP has one for all.
//
// Without flags it needs nothing: it starts a server in its own process, on a
// Unix socket. With -url and the flags that -h lists it delivers to a real one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// The exit statuses.
const (
	allAccepted  = 0
	failed       = 1 // not all accepted, or not all shown
	badlyInvoked = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program where it is
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fail := func(status int, err error) int {
		_, _ = fmt.Fprintln(stderr, "lmtp:", err)
		return status
	}
	f, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprint(stdout, usage)
		return allAccepted
	case err != nil:
		return fail(badlyInvoked, err)
	}
	embedded := f.url == ""
	if embedded {
		server, err := startServer()
		if err != nil {
			return fail(failed, err)
		}
		defer server.stop()
		f = server.flags()
	}
	client, err := core.NewClient(core.Config{Endpoint: f.url, Transports: transport.Standard()})
	if err != nil {
		return fail(badlyInvoked, err)
	}
	defer func() { _ = client.Close() }()
	receipt, err := client.Send(ctx, f.mail())
	if shown := show(stdout, f.url, receipt); shown != nil {
		return fail(failed, errors.Join(err, shown))
	}
	if embedded && receipt.Count(core.Accepted) == 2 {
		_, err = fmt.Fprintln(stdout, "The embedded server has two mailboxes that take nothing: all is as it should be.")
	}
	if err != nil {
		return fail(failed, err)
	}
	return allAccepted
}

// show prints what became of each recipient, and why.
func show(w io.Writer, url string, receipt *core.Receipt) error {
	if _, err := fmt.Fprintf(w, "%s\n", url); err != nil {
		return err
	}
	for _, r := range receipt.Recipients {
		why := r.Reply.String()
		if r.Reply.Code == 0 && r.Err != nil {
			why = r.Err.Error()
		}
		if _, err := fmt.Fprintf(w, "  %-9s %-22s %s\n", r.Outcome, r.Address, why); err != nil {
			return err
		}
	}
	return nil
}

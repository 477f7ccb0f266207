// Bench sends many messages to a server as fast as it takes them, and says how
// fast that was, what it cost this side, and how long each message took. It is
// for those who size a mail system, and who want to know what connections, TLS,
// pipelining, CHUNKING and interceptors are worth on theirs.
//
// Without -addr it starts a server in its own process, so that there is
// something to see; what it measures then is both sides together. With -addr it
// measures this side alone. -h lists the flags.
//
// What is measured is in load.go, and how in measure.go. The rest is around it,
// and does its work before the clock starts or after it has stopped.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit statuses. Those above 1 are the usual ones of sysexits.h (EX_USAGE)
// and of test programs.
const (
	allAccepted  = 0
	failed       = 1 // not all accepted, or the result could not be written
	badlyInvoked = 64
	skipped      = 77 // asked for what cannot be done
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program. It returns its exit status.
func run(args []string, stdout, stderr io.Writer) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "bench: "+format+"\n", args...) }
	fail := func(status int, err error) int {
		say("%v", err)
		return status
	}

	f, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		if _, err := io.WriteString(stdout, usage); err != nil {
			return fail(failed, err)
		}
		return allAccepted
	case err != nil:
		return fail(badlyInvoked, err)
	}
	content, err := f.content()
	if err != nil {
		return fail(badlyInvoked, err)
	}
	if why := f.senseless(len(content)); why != "" {
		if _, err := fmt.Fprintln(stdout, "skip:", why); err != nil {
			return fail(failed, err)
		}
		return skipped
	}

	address := f.addr
	if address == "" {
		server, err := startServer(f)
		if err != nil {
			return fail(failed, err)
		}
		defer func() { _ = server.Close() }()
		address = addressOf(server)
	}
	config := f.config(address)
	if f.interceptors == "all" {
		pipeline, stop, err := newPipeline()
		if err != nil {
			return fail(failed, err)
		}
		defer stop()
		config.Interceptors = pipeline
	}
	l, err := newLoad(f, config, newMessage(content, f.rcpts))
	if err != nil {
		return fail(badlyInvoked, err)
	}

	// What was measured is told after an interrupt, too; a second one ends the
	// program where it is.
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	defer context.AfterFunc(ctx, func() { release(); l.stop() })()

	if f.addr == "" {
		say("no -addr: the server is in this process, and its work is part of all figures")
	}
	say("%s of %s, each to %s, over %s, to %s", plural(f.n, "message"), plural(len(content), "octet"),
		plural(f.rcpts, "recipient"), plural(min(f.conns, f.n), "connection"), config.Endpoint)
	result := l.run(newProgress(stderr))
	for _, line := range l.summary(result, len(content)) {
		say("%s", line)
	}
	if err := json.NewEncoder(stdout).Encode(result); err != nil {
		return fail(failed, fmt.Errorf("the result could not be written: %w", err))
	}
	if err := l.err(); err != nil {
		return fail(failed, err)
	}
	return allAccepted
}

// plural writes a number and what there is of it.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

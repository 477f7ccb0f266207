// Mailer sends messages from a shell, says what becomes of each recipient, and
// tells what a server offers. "mailer help" says how; docs/mailer.md says more.
//
// Each file holds one thing: settings.go what can be set and where, client.go
// the client that is made of it, send.go, probe.go, pipeline.go and
// plugin.go the commands, report.go what is printed of a message, and status.go how
// the program ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// system is what the program has of the machine it runs on.
type system struct {
	stdin          *os.File
	stdout, stderr *os.File
	environment    func(name string) (string, bool)
	// interrupts has what is to end the program in good order.
	interrupts <-chan os.Signal
}

func main() {
	// A reader of the results that goes away is an error like a full disk: what is
	// under way is ended in good order.
	signal.Ignore(syscall.SIGPIPE)
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as by nohup
		signal.Notify(interrupts, syscall.SIGHUP)
	}
	os.Exit(run(context.Background(), os.Args[1:], &system{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		environment: os.LookupEnv, interrupts: interrupts,
	}))
}

// commands are what the program can do, in the order of its help.
var commands = []struct {
	name string
	run  func(ctx context.Context, s *settings, sys *system) error
}{
	{"send", send},
	{"probe", probe},
	{"pipeline", showPipeline},
	{"plugin list", listPlugins},
	{"plugin verify", verifyPlugin},
}

// themes are the pages of the help.
var themes = []struct{ name, page string }{
	{"send", helpSend}, {"probe", helpProbe}, {"pipeline", helpPipeline}, {"plugin", helpPlugin},
}

// run is the program. It returns its exit status.
func run(ctx context.Context, args []string, sys *system) int {
	err := dispatch(ctx, args, sys)
	if err != nil {
		_, _ = fmt.Fprintln(sys.stderr, "mailer: "+oneLine(err.Error()))
	}
	return statusOf(err, false)
}

// dispatch runs the command that the arguments name.
func dispatch(ctx context.Context, args []string, sys *system) error {
	if len(args) == 0 {
		return usage("no command: use send, probe, pipeline or plugin; mailer help says more")
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return help(sys.stdout, args)
	case "plugin":
		switch {
		case len(args) == 0:
			return usage("plugin alone is no command: use plugin list, or plugin verify PATH")
		case slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]):
			return help(sys.stdout, []string{name})
		}
		name, args = name+" "+args[0], args[1:]
	}
	for _, c := range commands {
		if c.name != name {
			continue
		}
		s, err := load(name, args, sys.environment)
		if errors.Is(err, flag.ErrHelp) {
			return help(sys.stdout, strings.Fields(name))
		}
		if err != nil {
			return err
		}
		return c.run(ctx, s, sys)
	}
	return usage("there is no command %q: use send, probe, pipeline, plugin list or plugin verify; mailer help says more", name)
}

// help prints the page for a command, or the one for all.
func help(w io.Writer, about []string) error {
	page := helpAll
	if len(about) > 0 {
		page = ""
		for _, t := range themes {
			if t.name == about[0] {
				page = t.page
			}
		}
	}
	if page == "" {
		return usage("there is no help about %q: there is some about send, probe, pipeline and plugin", about[0])
	}
	_, err := io.WriteString(w, page)
	return written(err)
}

package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"time"
)

const usage = `Fxapp takes messages over HTTP and sends them.

  go run ./examples/fxapp
        to a server that it starts itself: one message, and then it stops

  go run ./examples/fxapp -endpoint smtps://mail.example.com \
        -user me -password-file FILE
  curl -H 'Content-Type: application/json' http://127.0.0.1:8025/send -d \
        '{"from":"me@example.com","to":["you@example.net"],"body":"Subject: hello\r\n\r\nHi!\r\n"}'
        to a real one, until it is interrupted

  -endpoint URL         the mail server, or MAIL_ENDPOINT
  -user NAME            the user to authenticate as, or MAIL_USER
  -password-file FILE   a file with the user's password and nothing else, or
                        MAIL_PASSWORD_FILE
  -plugins FILE         the plugins to use, in JSON, as docs/plugins.md has it:
                        {"plugins": [{"path": "/usr/lib/mailer/corp-auth"}]}
  -listen ADDRESS       where HTTP is spoken: a port of this machine
                        (127.0.0.1:8025)
  -connect              do not start if the mail server cannot be reached, or
                        does not accept the password
  -stop-timeout TIME    how long messages have to end when the service stops
                        (30s)
  -demo                 the same as no flags
`

// settings is what can be configured.
type settings struct {
	endpoint           string
	user, passwordFile string
	plugins            string      // a file
	tls                *tls.Config // of the demonstration
	listen             string
	connect, demo      bool
	stopTimeout        time.Duration
}

// parse reads the command line, and from the environment what is not there.
func parse(args []string, getenv func(string) string) (settings, error) {
	var s settings
	set := flag.NewFlagSet("fxapp", flag.ContinueOnError)
	set.SetOutput(io.Discard) // errors are one line, and the caller's to print
	set.StringVar(&s.endpoint, "endpoint", getenv("MAIL_ENDPOINT"), "")
	set.StringVar(&s.user, "user", getenv("MAIL_USER"), "")
	set.StringVar(&s.passwordFile, "password-file", getenv("MAIL_PASSWORD_FILE"), "")
	set.StringVar(&s.plugins, "plugins", "", "")
	set.StringVar(&s.listen, "listen", "127.0.0.1:8025", "")
	set.BoolVar(&s.connect, "connect", false, "")
	set.BoolVar(&s.demo, "demo", false, "")
	set.DurationVar(&s.stopTimeout, "stop-timeout", 30*time.Second, "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, fmt.Errorf("%w: -h lists the flags", err)
	}
	s.demo = s.demo || set.NFlag() == 0 && s.endpoint == ""
	if s.demo {
		return s, nil
	}
	// Whoever reaches it can send mail.
	listen, err := netip.ParseAddrPort(s.listen)
	switch {
	case set.NArg() > 0:
		return s, fmt.Errorf("%q is not a flag: -h lists them", set.Arg(0))
	case s.endpoint == "":
		return s, errors.New("-endpoint is missing: name a mail server, or leave out all flags for a demonstration")
	case (s.user == "") != (s.passwordFile == ""):
		return s, errors.New("-user and -password-file go together: give both, or none to send without authentication")
	case err != nil || !listen.Addr().IsLoopback():
		return s, fmt.Errorf("-listen %q is no port of this machine: write it as 127.0.0.1:8025", s.listen)
	case s.stopTimeout <= 0:
		return s, errors.New("-stop-timeout leaves no time")
	}
	return s, nil
}

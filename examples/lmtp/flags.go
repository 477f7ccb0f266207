package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/postrider/postrider/core"
)

const usage = `Lmtp delivers one message and shows what became of each recipient.

  go run ./examples/lmtp
        to a server that it starts itself, and that needs nothing

  go run ./examples/lmtp -url lmtp+unix:///run/dovecot/lmtp \
        -from me@example.com -to you@example.net -message mail.eml
        to a real one

  -url URL       the server: lmtp+unix:///path of its socket, or lmtp://host:24;
                 smtp and smtps URLs work too
  -from ADDRESS  the sender; without it, the null sender
  -to ADDRESS    a recipient; once for each
  -message FILE  the message, header and all; without it, a short one

It ends with status 0 when every recipient was accepted, 1 when not, and 2 when
it was not told well what to do.
`

// flags is the command line.
type flags struct {
	url, from, message string
	to                 []string
}

// parse reads and checks a command line.
func parse(args []string) (*flags, error) {
	var f flags
	set := flag.NewFlagSet("lmtp", flag.ContinueOnError)
	set.SetOutput(io.Discard) // errors are one line, and the caller's to print
	set.StringVar(&f.url, "url", "", "")
	set.StringVar(&f.from, "from", "", "")
	set.Func("to", "", func(address string) error {
		f.to = append(f.to, address)
		return nil
	})
	set.StringVar(&f.message, "message", "", "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: -h lists the flags", err)
	}
	switch {
	case set.NArg() > 0:
		return nil, fmt.Errorf("%q is not a flag: -h lists them", set.Arg(0))
	case set.NFlag() == 0:
		return &f, nil
	case f.url == "":
		return nil, errors.New("-url is missing: name a server, or leave out all flags to use the embedded one")
	case len(f.to) == 0:
		return nil, errors.New("-to is missing: give at least one recipient's address")
	}
	return &f, nil
}

// mail returns the message to be delivered.
func (f *flags) mail() *core.Message {
	m := &core.Message{From: strings.Trim(f.from, "<>"), To: core.Recipients(f.to...)}
	if f.message != "" {
		m.Body = core.File(f.message)
		return m
	}
	m.Body = core.String("From: <postmaster@localhost>\r\nSubject: Postrider says hello over LMTP\r\n\r\nHello!\r\n")
	return m
}

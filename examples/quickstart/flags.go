package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/postrider/postrider/core"
)

// usage keeps to the width of a page.
const usage = `Quickstart sends one message and shows everything that happens to it.

  go run ./examples/quickstart
        to a server that it starts itself, and that needs nothing

  go run ./examples/quickstart -url smtp://mail.example.com:587 \
        -from me@example.com -to you@example.net -user me -password-file FILE
        to a real one

  -url URL             the server: smtp://host:587 (STARTTLS),
                       smtps://host (TLS from the start)
  -from ADDRESS        the sender; <> is the null sender
  -to ADDRESS,...      the recipients; may be repeated; a comma within double
                       quotes belongs to the address: "a, b"@example.net
  -message FILE        the message, header and all; without it, a short one is
                       made up
  -user NAME           the user to authenticate as
  -password-file FILE  a file with the user's password and nothing else
  -ca FILE             certificates (PEM) of authorities to trust beside the
                       system's
  -tls POLICY          required, opportunistic or off; without it, required
                       unless the server is on this machine
  -dkim-domain NAME    sign the message for this domain,
  -dkim-selector NAME  with the key of this selector,
  -dkim-key FILE       which is this private key (PEM)

It ends with status 0 when every recipient was accepted, 1 when not or when its
output could not be written, and 2 when it was not told well what to do.
`

// flags is the command line.
type flags struct {
	url, from, message       string
	to                       []string
	user, passwordFile       string
	ca, tls                  string
	domain, selector, domKey string
}

// parse reads and checks a command line, as far as it goes without opening
// anything.
func parse(args []string) (*flags, error) {
	var f flags
	set := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	set.SetOutput(io.Discard) // errors are one line, and the caller's to print
	set.StringVar(&f.url, "url", "", "")
	set.StringVar(&f.from, "from", "", "")
	set.Func("to", "", func(list string) error {
		for _, address := range splitAddresses(list) {
			if address = strings.TrimSpace(address); address != "" {
				f.to = append(f.to, address)
			}
		}
		return nil
	})
	set.StringVar(&f.message, "message", "", "")
	set.StringVar(&f.user, "user", "", "")
	set.StringVar(&f.passwordFile, "password-file", "", "")
	set.StringVar(&f.ca, "ca", "", "")
	set.StringVar(&f.tls, "tls", "", "")
	set.StringVar(&f.domain, "dkim-domain", "", "")
	set.StringVar(&f.selector, "dkim-selector", "", "")
	set.StringVar(&f.domKey, "dkim-key", "", "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: -h lists the flags", err)
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag: -h lists them", set.Arg(0))
	}
	if set.NFlag() == 0 {
		return &f, nil
	}
	return &f, f.check()
}

// splitAddresses splits a list at its commas, except for those between double
// quotes, where a backslash takes the next character as it is (RFC 5321 §4.1.2).
func splitAddresses(list string) []string {
	var addresses []string
	begin, quoted := 0, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			addresses = append(addresses, list[begin:i])
			begin = i + 1
		}
	}
	return append(addresses, list[begin:])
}

// check refuses what is missing and what does not go together.
func (f *flags) check() error {
	switch {
	case f.url == "":
		return errors.New("-url is missing: name a server, or leave out all flags to use the embedded one")
	case f.from == "":
		return errors.New("-from is missing: give the sender's address, or <> for none")
	case len(f.to) == 0:
		return errors.New("-to is missing: give at least one recipient's address")
	case f.user != "" && f.passwordFile == "":
		return errors.New("-user needs -password-file: name a file that holds the password")
	case f.user == "" && f.passwordFile != "":
		return errors.New("-password-file needs -user: say whose password it is")
	case (f.domain == "" || f.selector == "" || f.domKey == "") && f.domain+f.selector+f.domKey != "":
		return errors.New("-dkim-domain, -dkim-selector and -dkim-key go together: give all three, or none to send without a signature")
	}
	_, err := f.policy()
	return err
}

// policy reads -tls.
func (f *flags) policy() (core.TLSPolicy, error) {
	for _, p := range []core.TLSPolicy{core.TLSRequired, core.TLSOpportunistic, core.TLSOff} {
		if f.tls == p.String() {
			return p, nil
		}
	}
	if f.tls != "" {
		return 0, fmt.Errorf("-tls %q does not exist: use required, opportunistic or off", f.tls)
	}
	return core.TLSDefault, nil
}

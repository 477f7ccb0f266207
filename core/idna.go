package core

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// asciiPath returns a path that [checkPath] accepts in the form that a server
// without SMTPUTF8 takes: the domain in A-labels (RFC 5890 §2.3.2.1), made as
// for a look-up (RFC 5891 §5). There is no such form if the local part is not
// ASCII; the error is then of the kind [ErrNotSupported].
func asciiPath(addr string) (string, error) {
	if isASCII(addr) {
		return addr, nil
	}
	at := strings.LastIndexByte(addr, '@') // no domain holds one
	local, domain := addr[:at+1], addr[at+1:]
	if !isASCII(local) {
		return "", fmt.Errorf("the local part of %q is not ASCII, and SMTPUTF8 is %w", addr, ErrNotSupported)
	}
	domain, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("address %q has no ASCII form, and SMTPUTF8 is %w: %w", addr, ErrNotSupported, err)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if len(label) > 63 { // RFC 5890 §2.3.2.1
			return "", fmt.Errorf("address %q has a label of more than 63 octets in its ASCII form", addr)
		}
	}
	ascii := local + domain
	if _, err := checkPath(ascii); err != nil {
		return "", fmt.Errorf("the ASCII form of %q: %w", addr, err)
	}
	return ascii, nil
}

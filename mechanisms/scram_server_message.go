package mechanisms

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
)

// SCRAMError is a refusal that the server explains (RFC 5802 §7). It is of the
// kind core.ErrAuthentication, and of the kind core.ErrCredentials if it says
// that the user or the password is wrong. A server may also refuse by its reply
// alone.
type SCRAMError struct {
	// Value is the server's word, such as "invalid-proof" or
	// "channel-bindings-dont-match". RFC 5802 §7 lists them; a server may have
	// others.
	Value string
}

// Error quotes the server's word.
func (e *SCRAMError) Error() string {
	const most = 64 // octets that are shown
	word, rest := e.Value, ""
	if len(word) > most {
		word, rest = word[:most], "..."
	}
	return "the server refuses with " + strconv.QuoteToASCII(word) + rest
}

// Is makes errors.Is work with the kinds.
func (e *SCRAMError) Is(target error) bool {
	switch target {
	case core.ErrAuthentication:
		return true
	case core.ErrCredentials:
		return e.Value == "invalid-proof" || e.Value == "unknown-user"
	}
	return false
}

// serverError returns the error for a server-error-value, with what it means for
// another try.
func serverError(value string) error {
	e := &core.Error{Stage: core.StageAuth, Class: core.Permanent, Err: &SCRAMError{value}}
	switch value {
	case "no-resources":
		e.Class = core.Temporary
	case "invalid-proof", "unknown-user":
		e.Hint = "check user name and password"
	case "channel-bindings-dont-match":
		e.Hint = "somebody stands between you and the server, perhaps a proxy that ends TLS: if it has the server's certificate, pin SCRAM.Binding to TLSServerEndPoint"
	case "unsupported-channel-binding-type":
		e.Hint = "pin SCRAM.Binding to the other one"
	case "server-does-support-channel-binding":
		e.Hint = "configure the mechanism with -PLUS; if the server was not seen to offer it, somebody may stand between"
	}
	return e
}

// serverFirst is what counts in a server-first-message.
type serverFirst struct {
	salt       string // without base64
	iterations uint64
}

// parseServerFirst reads a server-first-message (RFC 5802 §7) in answer to a
// client's nonce. The library that does the rest allows more, and would set to
// work at once.
func parseServerFirst(message, nonce string) (serverFirst, error) {
	list, err := parseAttributes(message)
	if err != nil {
		return serverFirst{}, err
	}
	if list[0].name == 'e' { // too early, but clear
		return serverFirst{}, serverError(list[0].value)
	}
	// RFC 5802 §5: their order is fixed.
	if len(list) < 3 || list[0].name != 'r' || list[1].name != 's' || list[2].name != 'i' {
		return serverFirst{}, violation("its first message does not begin with nonce, salt and iterations")
	}
	// RFC 5802 §5.1: the nonce begins with the client's, and goes on.
	if r := list[0].value; !strings.HasPrefix(r, nonce) || len(r) == len(nonce) || strings.ContainsFunc(r, unprintable) {
		return serverFirst{}, violation("its nonce does not extend the client's")
	}
	salt, err := decodeBase64(list[1].value)
	if err != nil {
		return serverFirst{}, violation("its salt is not base64")
	}
	iterations, err := parseIterations(list[2].value)
	return serverFirst{salt: string(salt), iterations: iterations}, err
}

// parseIterations reads a posit-number of RFC 5802 §7. One that is too big for
// the type comes back as the biggest.
func parseIterations(s string) (uint64, error) {
	if s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, violation("its number of iterations is none")
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n, nil
}

// checkServerFinal reads a server-final-message (RFC 5802 §7), and returns the
// error that it is.
func checkServerFinal(message string) error {
	list, err := parseAttributes(message)
	if err != nil {
		return err
	}
	switch first := list[0]; first.name {
	case 'e':
		return serverError(first.value)
	case 'v':
		if _, err := decodeBase64(first.value); err != nil {
			return violation("its signature is not base64")
		}
		return nil
	}
	return violation("its last message has no signature")
}

// attribute is an attr-val of RFC 5802 §7.
type attribute struct {
	name  byte
	value string // never empty
}

// parseAttributes reads a message of the server. It has at least one attribute,
// and none of them twice; those that are not known are ignored by whoever looks
// for others (RFC 5802 §5.1).
func parseAttributes(message string) ([]attribute, error) {
	if !utf8.ValidString(message) || strings.ContainsRune(message, 0) {
		return nil, violation("its message is not UTF-8, or holds NUL")
	}
	var list []attribute
	var seen [256]bool
	for s := range strings.SplitSeq(message, ",") {
		if len(s) < len("a=b") || s[1] != '=' || (s[0]|0x20) < 'a' || (s[0]|0x20) > 'z' {
			return nil, violation("its message holds something that is no attribute with a value")
		}
		switch {
		case s[0] == 'm': // RFC 5802 §5.1
			return nil, violation("it wants an extension, and there is none")
		case seen[s[0]]:
			return nil, violation("its message has an attribute twice")
		}
		seen[s[0]] = true
		list = append(list, attribute{s[0], s[2:]})
	}
	return list, nil
}

// decodeBase64 allows nothing but base64: the library, as package base64 does,
// passes over line ends.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line end in base64")
	}
	return base64.StdEncoding.DecodeString(s)
}

// unprintable reports a character that may not be in a nonce, RFC 5802 §7.
func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// violation says that the server broke the rules.
func violation(what string) error { return fmt.Errorf("%w: %s", core.ErrProtocol, what) }

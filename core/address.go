package core

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of RFC 5321 §4.5.3.1, in octets. The limit of 64 for a local part is
// not enforced: addresses that encode another address (VERP, SRS) exceed it
// everywhere.
const (
	maxPath   = 254 // without the angle brackets
	maxDomain = 255
)

// checkPath reports why addr cannot stand between the angle brackets of MAIL or
// RCPT (RFC 5321 §4.1.2, widened to UTF-8 by RFC 6531 §3.3), and whether it
// needs SMTPUTF8.
//
// It is strict about everything that could be read as more than one path, and
// lenient about dots in the local part, which servers take in any number.
func checkPath(addr string) (utf8Needed bool, err error) {
	if addr == "" {
		return false, errors.New("empty address")
	}
	for i := 0; i < len(addr); i++ {
		switch c := addr[i]; {
		case c < ' ' || c == 0x7f:
			return false, addressError(addr, fmt.Sprintf("holds the control character %#02x", c))
		case c >= utf8.RuneSelf:
			utf8Needed = true
		}
	}
	if utf8Needed {
		if !utf8.ValidString(addr) {
			return false, addressError(addr, "is not valid UTF-8")
		}
		if strings.ContainsFunc(addr, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
			return false, addressError(addr, "holds a control character or a line separator")
		}
	}
	local, domain, err := splitPath(addr)
	if err != nil {
		return false, err
	}
	if len(local)+1+len(domain) > maxPath || len(domain) > maxDomain {
		return false, addressError(addr, fmt.Sprintf("is longer than %d octets", maxPath))
	}
	return utf8Needed, checkDomain(addr, domain)
}

// splitPath checks the local part and finds where it ends.
func splitPath(addr string) (local, domain string, err error) {
	end := 0
	if addr[0] == '"' {
		if end, err = quotedEnd(addr); err != nil {
			return "", "", err
		}
	} else {
		for end < len(addr) && addr[end] != '@' {
			switch c := addr[end]; c {
			case ' ', '"', '(', ')', ',', ':', ';', '<', '>', '[', '\\', ']':
				return "", "", addressError(addr, fmt.Sprintf("%q must be quoted in a local part", c)+displayNameHint)
			}
			end++
		}
	}
	switch {
	case end == 0:
		return "", "", addressError(addr, "has no local part")
	case end == len(addr) && isPostmaster(addr):
		return addr, "", nil // RFC 5321 §4.1.1.3
	case end == len(addr):
		return "", "", addressError(addr, "has no domain")
	case addr[end] != '@':
		return "", "", addressError(addr, "has something between the quoted local part and @"+displayNameHint)
	}
	return addr[:end], addr[end+1:], nil
}

// quotedEnd returns the index behind the closing quote of a Quoted-string.
func quotedEnd(addr string) (int, error) {
	for i := 1; i < len(addr); i++ {
		switch addr[i] {
		case '\\':
			i++
		case '"':
			return i + 1, nil
		}
	}
	return 0, addressError(addr, "has an unclosed quoted local part")
}

func checkDomain(addr, domain string) error {
	if domain == "" {
		if isPostmaster(addr) {
			return nil
		}
		return addressError(addr, "has no domain")
	}
	if domain[0] == '[' {
		inner, ok := strings.CutSuffix(domain[1:], "]")
		if !ok || inner == "" || strings.ContainsFunc(inner, outsideLiteral) {
			return addressError(addr, "has a malformed address literal")
		}
		return nil
	}
	for i := 0; i < len(domain); i++ {
		c := domain[i]
		if 'a' <= c && c <= 'z' {
			continue
		}
		ok := 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c >= utf8.RuneSelf
		if c == '.' || c == '-' { // within a domain, and a hyphen within a label
			ok = i > 0 && i < len(domain)-1 && domain[i-1] != '.' && (c == '.' || domain[i+1] != '.')
		}
		if !ok {
			return addressError(addr, fmt.Sprintf("%q is not allowed there in a domain", c))
		}
	}
	return nil
}

// outsideLiteral reports whether an address literal cannot hold r: what dcontent
// lacks (RFC 5321 §4.1.3), and what could be read as the end of the path.
func outsideLiteral(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`[]\<>@"(),;`, r)
}

// isPostmaster reports whether addr is the one mailbox that needs no domain.
// Without the length it could hold a character beyond ASCII that folds to an s.
func isPostmaster(addr string) bool {
	return len(addr) == len("postmaster") && strings.EqualFold(addr, "postmaster")
}

const displayNameHint = "; if the address has a display name, parse it with net/mail first"

func addressError(addr, why string) error {
	return fmt.Errorf("address %.320q %s", addr, why) // whatever was given, the error is for a log
}

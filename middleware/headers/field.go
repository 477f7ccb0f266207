package headers

import (
	"errors"
	"fmt"
	"mime"
	"net/mail"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/core"
)

// field is a field of the configuration.
type field struct {
	name  string
	lines string                     // all of it, with line ends; "" if there is nothing to write
	value func(*core.Message) string // or nil if lines is the same for all messages
}

const (
	// foldAt is how long lines are where there is a choice: a line with encoded
	// words may have 76 octets (RFC 2047 §2), any other should have no more than
	// 78 (RFC 5322 §2.1.1).
	foldAt = 76
	// maxLine is how long a line may be without its CRLF, RFC 5322 §2.1.1.
	maxLine = 998
)

// trim returns a value without the white space around it, which means nothing.
func trim(value string) string { return strings.Trim(value, " \t") }

// render returns the lines of a field.
func render(name, value string) (string, error) {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", fmt.Errorf("%s has a value with the control character %q: write it on one line, long ones are folded", name, c)
		}
	}
	if !utf8.ValidString(value) {
		return "", fmt.Errorf("%s has a value that is not UTF-8", name)
	}
	if !isASCII(value) {
		var err error
		if value, err = encode(name, value); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return fold(name, value)
}

// encode makes a value ASCII, by the rules of RFC 2047 §5.
func encode(name, value string) (string, error) {
	switch strings.ToLower(name) {
	case "from", "sender", "reply-to", "to", "cc", "bcc",
		"resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc", "resent-bcc":
		return encodeAddresses(value)
	case "date", "message-id", "in-reply-to", "references", "resent-date", "resent-message-id", "return-path", "received",
		"mime-version", "content-type", "content-transfer-encoding", "content-id", "content-disposition",
		"dkim-signature", "list-id", "list-unsubscribe", "list-unsubscribe-post", "list-help", "list-subscribe", "list-post", "list-owner", "list-archive":
		return "", errors.New("the value is not ASCII, and encoded words cannot stand in this field: encode it by the rules of the field")
	}
	return mime.QEncoding.Encode("utf-8", value), nil
}

// encodeAddresses encodes the names in a list of addresses.
func encodeAddresses(value string) (string, error) {
	list, err := mail.ParseAddressList(value)
	if err != nil {
		return "", fmt.Errorf("%w: write addresses as Name <local@domain>, with commas between them", err)
	}
	encoded := make([]string, len(list))
	for i, a := range list {
		if encoded[i] = a.String(); !isASCII(encoded[i]) {
			return "", fmt.Errorf("the address %q is not ASCII: give its domain as A-labels", a.Address)
		}
	}
	return strings.Join(encoded, ", "), nil
}

// fold breaks a field into lines, in front of white space of the value (RFC 5322
// §2.2.3).
func fold(name, value string) (string, error) {
	var b strings.Builder
	b.Grow(len(name) + len(value) + 8)
	b.WriteString(name)
	b.WriteByte(':')
	length := len(name) + 1 // of the line so far
	first := true           // there is no word on it yet, but for the name
	for rest := " " + value; rest != ""; {
		word := strings.TrimLeft(rest, " \t")
		space := len(rest) - len(word)
		if end := strings.IndexAny(word, " \t"); end >= 0 {
			word = word[:end]
		}
		part := rest[:space+len(word)]
		rest = rest[len(part):]
		// A name alone on its line helps only if the word fits into the next.
		if length+len(part) > foldAt && (!first || len(part) <= foldAt) {
			b.WriteString("\r\n")
			length = 0
		}
		b.WriteString(part)
		first = false
		if length += len(part); length > maxLine {
			return "", fmt.Errorf("%s has a value with a word of more than %d octets: no line can hold it", name, maxLine-space)
		}
	}
	b.WriteString("\r\n")
	return b.String(), nil
}

// isFieldName reports whether p is a field's name, RFC 5322 §2.2.
func isFieldName(p []byte) bool {
	for _, c := range p {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(p) > 0
}

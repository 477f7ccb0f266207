package wire

import (
	"errors"
	"fmt"
	"strings"

	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// Admitted is what a plugin has changed in a message, checked but for its
// addresses.
type Admitted struct {
	From        *string // nil if it stays
	Redirected  map[int]string
	Refused     map[int]*pluginv1.Failure
	Header      string // in front of the content: whole lines
	WantsReport bool
}

// ReadAdmitted checks what a plugin has changed in a message with so many
// recipients. The error says what is not right.
func ReadAdmitted(a *interceptorv1.Admitted, recipients int) (*Admitted, error) {
	read := &Admitted{WantsReport: a.GetWantsReport()}
	if a != nil {
		read.From = a.ReversePath
	}
	decided := make(map[uint32]bool, len(a.GetDecisions()))
	for _, d := range a.GetDecisions() {
		n := d.GetIndex()
		switch {
		case int64(n) >= int64(recipients):
			return nil, fmt.Errorf("there is no recipient with the index %d: the message has %d", n, recipients)
		case decided[n]:
			return nil, fmt.Errorf("the recipient with the index %d stands twice", n)
		}
		decided[n] = true
		switch decision := d.GetDecision().(type) {
		case *interceptorv1.Decision_Address:
			if read.Redirected == nil {
				read.Redirected = make(map[int]string)
			}
			read.Redirected[int(n)] = decision.Address
		case *interceptorv1.Decision_Refused:
			if read.Refused == nil {
				read.Refused = make(map[int]*pluginv1.Failure)
			}
			read.Refused[int(n)] = decision.Refused
		default:
			return nil, fmt.Errorf("nothing is decided about the recipient with the index %d", n)
		}
	}
	var err error
	read.Header, err = header(a.GetFields())
	return read, err
}

// What a plugin may put in front of a message.
const (
	maxFields = 100
	maxHeader = 64 << 10 // octets
)

// The lengths of lines, without their ends, of RFC 5322 §2.1.1.
const (
	foldAt  = 78
	maxLine = 998
)

// header returns the lines of fields.
func header(fields []*interceptorv1.Field) (string, error) {
	if len(fields) > maxFields {
		return "", fmt.Errorf("%d header fields, and %d are the most", len(fields), maxFields)
	}
	var b strings.Builder
	for n, f := range fields {
		if err := writeField(&b, f.GetName(), f.GetValue()); err != nil {
			return "", fmt.Errorf("header field %d (%.70q): %w", n+1, f.GetName(), err)
		}
		if b.Len() > maxHeader {
			return "", fmt.Errorf("header fields of more than %d octets", maxHeader)
		}
	}
	return b.String(), nil
}

// writeField writes a field, folded in front of white space (RFC 5322 §2.2.3).
func writeField(b *strings.Builder, name, value string) error {
	outsideName := func(r rune) bool { return r <= ' ' || r > '~' || r == ':' } // RFC 5322 §2.2
	outsideValue := func(r rune) bool { return (r < ' ' || r > '~') && r != '\t' }
	switch {
	case name == "" || len(name) > maxName || strings.ContainsFunc(name, outsideName):
		return fmt.Errorf("a name has 1 to %d printable ASCII characters, and no colon", maxName)
	case strings.ContainsFunc(value, outsideValue):
		return errors.New("a value is one line of printable ASCII: encode other characters (RFC 2047)")
	}
	b.WriteString(name)
	b.WriteByte(':')
	length, first := len(name)+1, true
	for rest := strings.Trim(value, " \t"); rest != ""; first = false {
		word := strings.TrimLeft(rest, " \t")
		space := rest[:len(rest)-len(word)]
		if end := strings.IndexAny(word, " \t"); end >= 0 {
			word = word[:end]
		}
		rest = rest[len(space)+len(word):]
		if first {
			space = " "
		}
		part := space + word
		if length+len(part) > foldAt && !first || length+len(part) > maxLine {
			b.WriteString("\r\n")
			length = 0
		}
		if length += len(part); length > maxLine {
			return fmt.Errorf("a word of %d octets fits on no line", len(word))
		}
		b.WriteString(part)
	}
	b.WriteString("\r\n")
	return nil
}

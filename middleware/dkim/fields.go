package dkim

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultHeaderKeys returns a new list of the fields that are signed unless
// [Signature] says otherwise: those of RFC 6376 §5.4.1 and of RFC 8058 §4, and
// besides them Sender, Message-ID, MIME-Version and what says how the body is
// to be read.
func DefaultHeaderKeys() []string {
	return []string{
		"From", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
		"In-Reply-To", "References",
		"Resent-Date", "Resent-From", "Resent-To", "Resent-Cc",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post",
		"List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	}
}

// overSigning says whether a field is listed once more than it occurs.
type overSigning uint8

const (
	never overSigning = iota
	ifPresent
	always
)

func defaultOverSigning(name string) overSigning {
	switch strings.ToLower(name) {
	case "from", "reply-to", "subject", "to", "cc":
		return always
	case "sender", "date", "message-id", "mime-version", "content-type", "content-transfer-encoding":
		return ifPresent
	}
	return never
}

// fieldRule says how the fields of one name are signed.
type fieldRule struct {
	name string
	over overSigning
}

// fieldRules combines the two lists of a [Signature]. With an error comes the
// list that it is about.
func fieldRules(keys, overSign []string) (rules []fieldRule, list string, err error) {
	if keys == nil {
		keys = DefaultHeaderKeys()
	}
	index := make(map[string]int)
	add := func(names ...string) error {
		for _, name := range names {
			if !isFieldName([]byte(name)) || strings.Contains(name, ";") {
				return fmt.Errorf("has %q, which is no name of a header field", name)
			}
			lower := strings.ToLower(name)
			if lower == "dkim-signature" {
				return errors.New("has DKIM-Signature: signatures do not sign each other")
			}
			if _, ok := index[lower]; !ok {
				index[lower] = len(rules)
				rules = append(rules, fieldRule{name: name})
			}
		}
		return nil
	}
	if err := add(append([]string{"From"}, keys...)...); err != nil {
		return nil, "HeaderKeys", err
	}
	if overSign == nil {
		for i := range rules {
			rules[i].over = defaultOverSigning(rules[i].name)
		}
		return rules, "", nil
	}
	if err := add(overSign...); err != nil {
		return nil, "OverSign", err
	}
	for _, name := range overSign {
		rules[index[strings.ToLower(name)]].over = always
	}
	return rules, "", nil
}

// maxKeyList is how long the value of h= may be: it is written on one line.
const maxKeyList = 990

// keys returns what h= lists for a header (RFC 6376 §5.4.2): a field that occurs
// several times is listed as often.
func keys(rules []fieldRule, header map[string]int) ([]string, error) {
	var list []string
	length := 0
	for _, r := range rules {
		n := header[strings.ToLower(r.name)]
		if r.over == always || r.over == ifPresent && n > 0 {
			n++
		}
		if length += n * (len(r.name) + 1); length > maxKeyList {
			return nil, refusal("sign fewer fields: Signature.HeaderKeys", "the header has so many fields to be signed that h= would be longer than a line can be")
		}
		for range n {
			list = append(list, r.name)
		}
	}
	return list, nil
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

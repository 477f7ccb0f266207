package smtptest

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/core"
)

// Envelope is what a server knows of a transaction.
type Envelope struct {
	// Connection is the number of the connection that the transaction is on,
	// from 1: two messages with the same number share one.
	Connection int
	// Hello is the client's name, from EHLO, HELO or LHLO.
	Hello string
	// TLS is the state of TLS, or nil.
	TLS *tls.ConnectionState
	// User is who authenticated, and Mechanism how; both are "" for nobody.
	User, Mechanism string
	// From is the reverse-path; "" is the null reverse-path. Here and in To a
	// quoted local part stands without its quotes.
	From string
	// Params are the parameters of MAIL: keywords in upper case, values with
	// xtext decoded, or "" for those without a value.
	Params map[string]string
	// To is the recipients that were accepted.
	To []Recipient
}

// Recipient is a recipient and what the client asked for it.
type Recipient struct {
	// Address is the forward-path.
	Address string
	// Params are the parameters of RCPT, as in [Envelope].
	Params map[string]string
}

// String returns the address, and the parameters behind it if there are any.
func (r Recipient) String() string {
	var b strings.Builder
	b.WriteString(r.Address)
	for _, k := range slices.Sorted(maps.Keys(r.Params)) {
		fmt.Fprintf(&b, " %s", k)
		if v := r.Params[k]; v != "" {
			fmt.Fprintf(&b, "=%s", v)
		}
	}
	return b.String()
}

// Message is a message as a server got it.
type Message struct {
	Envelope
	// ID is what the server called the message in its reply, unless a function
	// of [ServerOptions] replied: core.Receipt.QueueID returns the same.
	ID string
	// Content is the content, octet for octet, without what DATA adds to it:
	// the dots in front of dots and the last one.
	Content []byte
}

// Reply returns the reply that a line says, for the functions of
// [ServerOptions]: "550 5.1.1 no such mailbox". Lines are separated by "\n", and
// all but the first stand without their code. It panics if the line does not
// begin with a code from 200 to 599.
func Reply(line string) *core.Reply {
	digits, text, _ := strings.Cut(line, " ")
	code, err := strconv.Atoi(digits)
	if err != nil || code < 200 || code > 599 {
		panic(fmt.Sprintf("smtptest.Reply: %q does not begin with a reply code", line))
	}
	return &core.Reply{Code: code, Text: text}
}

package core

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The parameters of MAIL and RCPT that have a meaning of their own here. Each is
// sent only to a server that announced its extension. A value that its RFC does
// not allow is an error when the message is sent, before anything of it is.

// mailParam is a parameter of MAIL, for [Message.Params].
func mailParam(extension, keyword, value string) Param {
	return Param{extension: extension, keyword: keyword, value: value, verb: "MAIL"}
}

// rcptParam is a parameter of RCPT, for [Recipient.Params].
func rcptParam(extension, keyword, value string) Param {
	return Param{extension: extension, keyword: keyword, value: value, verb: "RCPT"}
}

// invalid returns the parameter as one that will not be sent.
func (p Param) invalid(format string, args ...any) Param {
	p.err = fmt.Errorf(format, args...)
	return p
}

// misplaced reports why the parameter cannot be one of the command.
func (p Param) misplaced(verb string) error {
	switch {
	case p.verb == "" || p.verb == verb:
		return nil
	case p.verb == "MAIL":
		return fmt.Errorf("parameter %s belongs to MAIL: put it into Message.Params", p.keyword)
	}
	return fmt.Errorf("parameter %s belongs to RCPT: put it into the Params of a Recipient", p.keyword)
}

// ReturnFull is RET=FULL on MAIL: a report of failed delivery is to hold the
// whole message. DSN, RFC 3461 §4.3.
func ReturnFull() Param { return mailParam("DSN", "RET", "FULL") }

// ReturnHeaders is RET=HDRS on MAIL: a report of failed delivery is to hold the
// message's header only. DSN, RFC 3461 §4.3.
func ReturnHeaders() Param { return mailParam("DSN", "RET", "HDRS") }

// EnvelopeID is ENVID=id on MAIL, in xtext: reports about the message will hold
// it. It consists of printable ASCII characters and spaces, up to 100 octets
// once encoded. DSN, RFC 3461 §4.4.
func EnvelopeID(id string) Param {
	p := mailParam("DSN", "ENVID", XText(id))
	switch {
	case !isASCII(id) || !isText(id):
		return p.invalid("an identifier is one or more printable ASCII characters")
	case len(p.value) > 100:
		return p.invalid("an identifier has up to 100 octets in xtext, this one has %d", len(p.value))
	}
	return p
}

// Notification is an event that the sender wants a report of. See [Notify].
type Notification uint8

// The events, RFC 3461 §4.1.
const (
	OnSuccess Notification = 1 << iota // SUCCESS: it was delivered
	OnFailure                          // FAILURE: it could not be
	OnDelay                            // DELAY: it has not been for unusually long
)

// Notify is NOTIFY=SUCCESS,FAILURE,DELAY on RCPT, with those that are given, of
// which there is one at least. Without the parameter servers report failures,
// and perhaps delays. DSN, RFC 3461 §4.1.
func Notify(events ...Notification) Param {
	var all Notification
	for _, e := range events {
		all |= e
	}
	var names []string
	for i, name := range []string{"SUCCESS", "FAILURE", "DELAY"} {
		if all&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	p := rcptParam("DSN", "NOTIFY", strings.Join(names, ","))
	if len(names) == 0 || all > OnSuccess|OnFailure|OnDelay {
		return p.invalid("no such event: use core.OnSuccess, core.OnFailure and core.OnDelay, or core.NotifyNever")
	}
	return p
}

// NotifyNever is NOTIFY=NEVER on RCPT: no report is wanted, of whatever happens.
// DSN, RFC 3461 §4.1.
func NotifyNever() Param { return rcptParam("DSN", "NOTIFY", "NEVER") }

// OriginalRecipient is ORCPT=rfc822;address on RCPT, in xtext: what the reports
// will call the recipient. An address that is not ASCII goes out as
// ORCPT=utf-8;address, in the form of RFC 6533 §3 that servers without SMTPUTF8
// take as well. The parameter has up to 500 octets. DSN, RFC 3461 §4.2.
//
// An address of another type, x400 say, is
// Parameter("DSN", "ORCPT", "x400;"+XText(address)).
func OriginalRecipient(address string) Param {
	p := rcptParam("DSN", "ORCPT", "rfc822;"+XText(address))
	if !isASCII(address) {
		p.value = "utf-8;" + unicodeXText(address)
	}
	switch {
	case !isText(address):
		return p.invalid("an address is one or more printable characters")
	case len(p.keyword)+1+len(p.value) > 500:
		return p.invalid("it has up to 500 octets, this one has %d", len(p.keyword)+1+len(p.value))
	}
	return p
}

// unicodeXText is the utf-8-addr-xtext of RFC 6533 §3: ASCII, with every other
// character, and those that a parameter cannot hold, as \x{HEX}.
func unicodeXText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && r != '\\' && xchar(byte(r)) {
			b.WriteByte(byte(r))
		} else {
			fmt.Fprintf(&b, "\\x{%02X}", r)
		}
	}
	return b.String()
}

// AuthSubmitter is AUTH=address on MAIL, in xtext: who handed the message in, as
// this side has made sure of. An empty address is AUTH=<>, not known well enough.
// Servers that do not trust this side to say so take it for that. AUTH, RFC 4954
// §5.
func AuthSubmitter(address string) Param {
	if address == "" {
		return mailParam("AUTH", "AUTH", "<>")
	}
	p := mailParam("AUTH", "AUTH", XText(address))
	if utf8Needed, err := checkPath(address); err != nil {
		return p.invalid("%w", err)
	} else if utf8Needed {
		return p.invalid("address %q is not ASCII", address)
	}
	return p
}

// RequireTLS is REQUIRETLS on MAIL: every server on the way is to send the
// message on over TLS, with certificates verified, or not at all. It is for
// sessions that are such themselves. REQUIRETLS, RFC 8689 §2.
func RequireTLS() Param { return mailParam("REQUIRETLS", "REQUIRETLS", "") }

// DeliverByMode is what becomes of a message that is late. See [DeliverBy].
type DeliverByMode string

// The modes, RFC 2852 §4. A traced one has by-trace, too: the sender wants to be
// told how the message is passed on.
const (
	OrReturn       DeliverByMode = "R"  // it is returned as undeliverable
	OrNotify       DeliverByMode = "N"  // the sender is told, and delivery goes on
	OrReturnTraced DeliverByMode = "RT" // as OrReturn, traced
	OrNotifyTraced DeliverByMode = "NT" // as OrNotify, traced
)

// DeliverBy is BY=seconds;mode on MAIL, BY=3600;R for example: the time in which
// the message is to be delivered. It is rounded down to seconds, and has up to
// nine digits. With [OrReturn] it is a second at least; with [OrNotify] it may
// be zero or negative: the deadline has passed. DELIVERBY, RFC 2852 §4.
func DeliverBy(within time.Duration, late DeliverByMode) Param {
	seconds := int64(within / time.Second)
	if within < 0 && within%time.Second != 0 {
		seconds--
	}
	p := mailParam("DELIVERBY", "BY", strconv.FormatInt(seconds, 10)+";"+string(late))
	switch late {
	case OrReturn, OrReturnTraced:
		if seconds < 1 {
			return p.invalid("a message that is to be returned when it is late has a second at least, not %s", within)
		}
	case OrNotify, OrNotifyTraced:
	default:
		return p.invalid("no such mode: %q", string(late))
	}
	if seconds > maxNineDigits || seconds < -maxNineDigits {
		return p.invalid("%s is more than nine digits of seconds", within)
	}
	return p
}

const maxNineDigits = 999999999

// HoldFor is HOLDFOR=seconds on MAIL: the time for which the server is to hold
// the message before it sends it on. It is rounded up to seconds, and is from one
// to nine digits of them. A message has one of HoldFor and [HoldUntil].
// FUTURERELEASE, RFC 4865.
func HoldFor(d time.Duration) Param {
	seconds := int64(d / time.Second)
	if d%time.Second > 0 {
		seconds++
	}
	p := mailParam("FUTURERELEASE", "HOLDFOR", strconv.FormatInt(seconds, 10))
	if seconds < 1 || seconds > maxNineDigits {
		return p.invalid("%s is not from 1 to %d seconds", d, maxNineDigits)
	}
	return p
}

// HoldUntil is HOLDUNTIL=time on MAIL, 2030-01-01T08:00:00Z for example: the
// time until which the server is to hold the message. It is rounded up to
// seconds. FUTURERELEASE, RFC 4865; the form of the time is RFC 3339's.
func HoldUntil(t time.Time) Param {
	return mailParam("FUTURERELEASE", "HOLDUNTIL", "").at(t.Add(time.Second - 1))
}

// at gives the parameter a time for a value, without its fraction of a second.
func (p Param) at(t time.Time) Param {
	t = t.UTC()
	p.value = t.Format("2006-01-02T15:04:05Z")
	if year := t.Year(); year < 1000 || year > 9999 {
		return p.invalid("no date with a year of four digits: %s", p.value)
	}
	return p
}

// Priority is MT-PRIORITY=n on MAIL, from -9, the least urgent, to 9. Which of
// the levels a server tells apart, and from whom it takes them, is its own to
// say. MT-PRIORITY, RFC 6710.
func Priority(n int) Param {
	p := mailParam("MT-PRIORITY", "MT-PRIORITY", strconv.Itoa(n))
	if n < -9 || n > 9 {
		return p.invalid("%d is not from -9 to 9", n)
	}
	return p
}

// RequireRecipientValidSince is RRVS=time on RCPT, 2014-04-03T23:01:00Z for
// example: the recipient is to have the message only if the mailbox has been
// theirs since then. It is rounded down to seconds. RRVS, RFC 7293; the form of
// the time is RFC 3339's.
func RequireRecipientValidSince(t time.Time) Param { return rcptParam("RRVS", "RRVS", "").at(t) }

// isText reports whether s is text without control characters, and not empty.
func isText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

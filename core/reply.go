package core

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/postrider/postrider/core/internal/wire"
)

// EnhancedCode is an enhanced status code, RFC 3463: class, subject and detail.
// The zero value means that the server gave none.
type EnhancedCode [3]int

// String returns the code as "5.1.1", or "" for the zero value.
func (c EnhancedCode) String() string {
	if c == (EnhancedCode{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2])
}

// Reply is one reply of a server, RFC 5321 §4.2.
type Reply struct {
	// Code is the three-digit reply code. Zero means that there was no reply.
	Code int
	// Enhanced is the enhanced status code at the start of Text, if any. When
	// its class contradicts Code, Code decides (RFC 2034 §4).
	Enhanced EnhancedCode
	// Text is what the server wrote behind the code, its enhanced code
	// included; the lines of a multi-line reply are joined by "\n". It may hold
	// any octet but CR LF and is never safe to print as it is: use String.
	//
	Text string
}

// Positive reports whether the reply is 2yz.
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Temporary reports whether the reply is 4yz: the same command may succeed
// later.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports whether the reply is 5yz.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// QueueID returns the name that the server gave a message that it accepted, if
// the reply has one of the forms in use: Postfix's "queued as ID", Exim's
// "id=ID", Sendmail's and OpenSMTPD's "ID Message accepted for delivery". Else
// it is "".
func (r Reply) QueueID() string {
	if !r.Positive() {
		return ""
	}
	words := strings.Fields(r.Text)
	for i, w := range words {
		id := ""
		switch {
		case strings.EqualFold(w, "queued") && i+2 < len(words) && strings.EqualFold(words[i+1], "as"):
			id = words[i+2]
		case len(w) > 3 && strings.EqualFold(w[:3], "id="):
			id = w[3:]
		case w == "Message" && i > 0 && i+1 < len(words) && words[i+1] == "accepted":
			id = words[i-1]
		}
		switch {
		case id == "", id == r.Enhanced.String(), strings.EqualFold(id, "ok"):
		case printable(id) == id: // it goes into logs
			return id
		}
	}
	return ""
}

// String returns "no reply" for the zero value, else code and text on one line, with control and non-ASCII octets
// escaped, fit for a log. Lines are separated by " / ".
func (r Reply) String() string {
	if r.Code == 0 {
		return "no reply"
	}
	if r.Text == "" {
		return strconv.Itoa(r.Code)
	}
	return strconv.Itoa(r.Code) + " " + printable(r.Text)
}

// printable escapes what a server could use to forge log lines or to control a
// terminal.
func printable(s string) string {
	s = strings.ReplaceAll(s, "\n", " / ")
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			q := strconv.QuoteToASCII(s)
			return q[1 : len(q)-1]
		}
	}
	return s
}

// ownedReply copies a reply out of the reader's buffer.
func ownedReply(r wire.Reply) Reply {
	return Reply{Code: r.Code, Enhanced: r.Enhanced(), Text: string(r.Text)}
}

package smtptest

import (
	"crypto/subtle"
	"strings"

	"github.com/postrider/postrider/core"
)

const plainName = "PLAIN"

// AuthFunc is the server's side of a SASL mechanism. It is called with all that
// the client has said since AUTH: first with one response, which is nil if AUTH
// came without an initial one, then with two, and so on. What it returns goes to
// the client. It keeps nothing, so that one function serves all connections.
//
// This one wants a ticket and nothing else:
//
//	func(responses [][]byte) smtptest.AuthStep {
//		if string(responses[0]) != "ticket 42" {
//			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no such ticket")}
//		}
//		return smtptest.AuthStep{User: "ann"}
//	}
type AuthFunc func(responses [][]byte) AuthStep

// AuthStep is a server's answer to a client that authenticates: the first of
// these that is set. The zero value is an empty challenge.
type AuthStep struct {
	// Refusal ends it: a reply 4yz or 5yz.
	Refusal *core.Reply
	// User ends it with success, and is who authenticated.
	User string
	// Challenge goes on.
	Challenge []byte
}

// plain returns the mechanism PLAIN, RFC 4616.
func plain(users map[string]string) AuthFunc {
	return func(responses [][]byte) AuthStep {
		if len(responses) == 1 && responses[0] == nil {
			return AuthStep{}
		}
		parts := strings.Split(string(responses[len(responses)-1]), "\x00")
		if len(parts) == 3 && (parts[0] == "" || parts[0] == parts[1]) {
			want, known := users[parts[1]]
			if known && subtle.ConstantTimeCompare([]byte(want), []byte(parts[2])) == 1 {
				return AuthStep{User: parts[1]}
			}
		}
		return AuthStep{Refusal: Reply("535 5.7.8 wrong user or password")}
	}
}

// conversation is one AUTH.
type conversation struct {
	session   *session
	mechanism string
	next      AuthFunc
	responses [][]byte
}

// Next is called by the server that speaks the protocol.
func (c *conversation) Next(response []byte) (challenge []byte, done bool, err error) {
	c.responses = append(c.responses, response)
	var st AuthStep
	reply := c.session.ask("Mechanisms["+c.mechanism+"]", func() *core.Reply {
		st = c.next(c.responses)
		return st.Refusal
	})
	switch {
	case reply != nil:
		return nil, false, c.session.refuse("Mechanisms["+c.mechanism+"]", reply)
	case st.User != "":
		c.session.user, c.session.mechanism = st.User, c.mechanism
		return nil, true, nil
	}
	return st.Challenge, false, nil
}

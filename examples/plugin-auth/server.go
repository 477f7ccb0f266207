package main

import (
	"crypto/hmac"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/examples/plugin-auth/ticket"
)

// serverName is what the embedded server is called in tickets and in its
// certificate.
const serverName = "server.example"

// startServer starts an SMTP server in this process, with TLS, that takes mail
// from who has a ticket, and from nobody else.
func startServer(key []byte) (*smtptest.Server, error) {
	return smtptest.StartServer(smtptest.ServerOptions{
		StartTLS:    true,
		RequireAuth: true,
		Mechanisms:  map[string]smtptest.AuthFunc{ticket.Name: admit(key)},
	})
}

// admit is the server's side of X-CORP-TICKET.
func admit(key []byte) smtptest.AuthFunc {
	return func(responses [][]byte) smtptest.AuthStep {
		shown := responses[len(responses)-1]
		parts := strings.Split(string(shown), "\x00")
		if len(parts) != 4 {
			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 that is no ticket")}
		}
		expires, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil || parts[1] != serverName || time.Now().Unix() > expires || !hmac.Equal(shown, ticket.Sign(key, parts[0], parts[1], expires)) {
			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 the ticket is not good")}
		}
		return smtptest.AuthStep{User: parts[0]}
	}
}

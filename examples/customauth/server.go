package main

import (
	"crypto/hmac"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/core/smtptest"
)

// serverName is what the embedded server is called in tickets and in its
// certificate.
const serverName = "server.example"

// leeway is how far two clocks may be apart.
const leeway = time.Minute

// startServer starts an SMTP server in this process, with TLS, that takes mail
// from who has a ticket, and from nobody else.
func startServer(key []byte) (*smtptest.Server, error) {
	return smtptest.StartServer(smtptest.ServerOptions{
		StartTLS:    true,
		RequireAuth: true,
		Mechanisms:  map[string]smtptest.AuthFunc{"X-CORP-TICKET": admit(key)},
	})
}

// admit is the server's side of X-CORP-TICKET.
func admit(key []byte) smtptest.AuthFunc {
	return func(responses [][]byte) smtptest.AuthStep {
		refuse := func(why string) smtptest.AuthStep {
			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 " + why)}
		}
		ticket := responses[len(responses)-1]
		parts := strings.Split(string(ticket), "\x00")
		if len(parts) != 4 {
			return refuse("that is no ticket")
		}
		user, server := parts[0], parts[1]
		expires, err := strconv.ParseInt(parts[2], 10, 64)
		switch {
		case err != nil || !hmac.Equal(ticket, sign(key, user, server, expires)):
			return refuse("the ticket is forged")
		case server != serverName:
			return refuse("the ticket is for another server")
		case time.Now().After(time.Unix(expires, 0).Add(leeway)):
			return refuse("the ticket has expired")
		}
		return smtptest.AuthStep{User: user}
	}
}

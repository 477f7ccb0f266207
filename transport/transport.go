// Package transport opens the byte streams that sessions run on, one transport
// for each URL scheme.
//
//	smtp://host[:25]      SMTP over TCP, with STARTTLS if the server offers it
//	smtps://host[:465]    SMTP over TCP, with TLS from the first octet (RFC 8314)
//	lmtp://host[:24]      LMTP over TCP (RFC 2033)
//	smtp+unix:///path     SMTP over a Unix socket
//	lmtp+unix:///path     LMTP over a Unix socket
//
// A URL may end in options, "?servername=mail.example.com&family=4". Those that
// do not exist are refused.
//
//	servername   the name that the server's certificate is verified against, if
//	             it is not the host of the URL
//	family       4 or 6: only addresses of this version of IP; not for sockets
//
// A URL holds what stands here and nothing else: credentials go into
// core.Config.Auth, TLS settings into core.Config.TLS, and how connections are
// opened, through a [Proxy] for example, into [TCP]. TLS itself is done by the
// session, the same way for every transport.
package transport

import "github.com/postrider/postrider/core"

// Standard returns a new list of the transports of this package, with their
// zero configuration.
func Standard() []core.Transport { return With(TCP{}) }

// With returns a new list of the transports of this package, those over TCP with
// this configuration.
func With(config TCP) []core.Transport {
	return []core.Transport{SMTP(config), SMTPS(config), LMTP(config), SMTPUnix(), LMTPUnix()}
}

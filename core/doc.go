// Package core is an SMTP, ESMTP and LMTP client whose every step can be
// wrapped, replaced or observed.
//
// A [Client] delivers messages: it keeps a few sessions with an endpoint, or with several, and
// runs each [Message] through a pipeline of interceptors. A [Session] is one
// connection whose owner gives the commands himself, as with Python's smtplib.
//
// Three seams take what is not in this package:
//
//   - an [Interceptor] wraps work: a delivery, an attempt, its content, the
//     opening of a session, an exchange of commands and replies;
//   - a [Transport] opens the byte stream for a URL scheme;
//   - a [Mechanism] authenticates.
//
// In this documentation a transaction is the protocol's (MAIL to the final
// reply), an attempt is one try at one, a delivery is one [Client.Send], and
// the peer is what is known of the server.
//
// Package core imports the standard library and golang.org/x only. The
// transports, mechanisms and interceptors that come with it live in the
// packages beside it.
package core

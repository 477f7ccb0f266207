// Package wire turns SMTP commands and content into octets, and octets into
// replies.
//
// It knows the syntax of RFC 5321 and nothing of its meaning: no states, no
// timeouts, no sockets. A [Reader] reads replies within fixed bounds, a [Group]
// collects the commands that leave in one write, and an [Encoder] makes message
// content fit for DATA. None of them is safe for concurrent use; each belongs
// to one connection and is reused for its whole life.
package wire

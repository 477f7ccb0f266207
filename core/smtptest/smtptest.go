// Package smtptest has SMTP and LMTP servers for tests, as net/http/httptest has
// HTTP servers.
//
// A [Server] works: it takes mail over a loopback socket, with TLS and AUTH if
// asked for, and keeps what it got. Functions of its options refuse a sender, a
// recipient or content. It is the one to test a mailer with.
//
// A [Script] misbehaves on cue: it plays one side of a written dialogue and
// complains about every octet that differs from it. It is the one to test what
// goes over the wire with, and what becomes of a message when a server says
// something odd, is slow, or goes away.
//
// Both have a Config that a client is made with. NewServer and NewScript are for
// tests, which they stop with; StartServer and StartScript are for examples,
// TestMain and programs, which stop them by Close.
package smtptest

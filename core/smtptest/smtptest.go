// Package smtptest has SMTP servers for tests, as net/http/httptest has HTTP
// servers.
//
// A [Script] plays one side of a written dialogue and complains about every
// octet that differs from it, which makes it the place for servers that
// misbehave.
package smtptest

package main

import (
	"strings"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// mostKept is how many octets of memory the embedded server may need for what it
// gets, since it keeps that.
const mostKept = 512 << 20

// kept estimates it.
func (f *flags) kept(size int) int64 {
	return int64(f.n) * (int64(size) + 2048 + 128*int64(f.rcpts))
}

// startServer starts the embedded server, such that it can do what the flags ask
// for. The caller closes it.
func startServer(f *flags) (*smtptest.Server, error) {
	options := smtptest.ServerOptions{StartTLS: f.tls == "starttls", ImplicitTLS: f.tls == "implicit"}
	if f.lmtp {
		options.Protocol = core.LMTP
	}
	return smtptest.StartServer(options)
}

// addressOf returns where a server listens.
func addressOf(s *smtptest.Server) string {
	_, address, _ := strings.Cut(s.URL(), "://")
	return address
}

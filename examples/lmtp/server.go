package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// server is an LMTP server on a Unix socket: one of package smtptest, which
// listens on TCP, with a socket in front that leads to it.
type server struct {
	inner   *smtptest.Server
	folder  string
	socket  net.Listener
	working sync.WaitGroup
}

// startServer starts the server. The caller stops it.
func startServer() (*server, error) {
	inner, err := smtptest.StartServer(smtptest.ServerOptions{Protocol: core.LMTP, Deliver: deliver})
	if err != nil {
		return nil, err
	}
	s := &server{inner: inner}
	if s.folder, err = os.MkdirTemp("", "lmtp-"); err == nil {
		s.socket, err = net.Listen("unix", filepath.Join(s.folder, "socket"))
	}
	if err != nil {
		return nil, errors.Join(err, inner.Close(), os.RemoveAll(s.folder))
	}
	s.working.Go(s.serve)
	return s, nil
}

// deliver is the server's mailboxes: one of them is full, another one busy.
func deliver(_ smtptest.Message, to smtptest.Recipient) *core.Reply {
	switch to.Address {
	case "full@example.net":
		return smtptest.Reply("552 5.2.2 Mailbox full")
	case "busy@example.net":
		return smtptest.Reply("451 4.2.0 Mailbox is busy, try again later")
	}
	return nil
}

// flags returns what delivers to the server.
func (s *server) flags() *flags {
	return &flags{
		url:  "lmtp+unix://" + s.socket.Addr().String(),
		from: "me@example.com",
		to:   []string{"alice@example.net", "full@example.net", "bob@example.net", "busy@example.net"},
	}
}

// serve leads each connection to the server.
func (s *server) serve() {
	for {
		client, err := s.socket.Accept()
		if err != nil {
			return // it is closed
		}
		s.working.Go(func() {
			defer client.Close()
			behind, err := net.Dial("tcp", strings.TrimPrefix(s.inner.URL(), "lmtp://"))
			if err != nil {
				return
			}
			defer behind.Close()
			s.working.Go(func() {
				_, _ = io.Copy(behind, client)
				_ = behind.Close()
			})
			_, _ = io.Copy(client, behind)
		})
	}
}

// stop ends the server, and the connections to it.
func (s *server) stop() {
	_ = s.socket.Close()
	_ = s.inner.Close()
	s.working.Wait()
	_ = os.RemoveAll(s.folder)
}

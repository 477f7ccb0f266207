package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/url"
	"os"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
)

// capture is a transport for URLs "capture:///folder": what is sent is written to
// the folder and goes no further. It is for a staging system, which then differs
// from production in its endpoint, and in that it needs no Auth.
//
// It is not an interceptor, because none can say of a recipient that he was
// accepted: only a server's reply does, and success without next is an error
// (core.ErrNextSkipped), so that a receipt never claims a delivery that nobody
// made. So there is a server, at the other end of a pipe. It is the better place
// anyway: all interceptors run, and what is in the folder is what would have been
// on the wire, signature and all.
type capture struct{}

func (capture) Scheme() string { return "capture" }

func (capture) Endpoint(u *url.URL) (core.Endpoint, error) {
	if u.Host != "" || u.Path == "" {
		return core.Endpoint{}, errors.New("write it as capture:///folder")
	}
	if info, err := os.Stat(u.Path); err != nil || !info.IsDir() {
		return core.Endpoint{}, errors.Join(errors.New("it names no folder: make one"), err)
	}
	return core.Endpoint{Network: "capture", Address: u.Path, ServerName: "localhost", Local: true}, nil
}

func (capture) Dial(_ context.Context, e core.Endpoint) (net.Conn, error) {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &capturing{folder: folder(e.Address)}, nil
	}))
	server.Domain = "capture.example"
	server.EnableSMTPUTF8 = true
	server.MaxLineLength = 0
	server.ErrorLog = log.New(io.Discard, "", 0) // the client says what went wrong
	client, other := net.Pipe()
	_ = server.Serve(&single{Conn: other}) // returns at once; the connection ends with its client
	return client, nil
}

// single is a listener that has one connection, and then no other.
type single struct {
	net.Conn
	taken bool
}

func (l *single) Accept() (net.Conn, error) {
	if l.taken {
		return nil, net.ErrClosed
	}
	l.taken = true
	return l.Conn, nil
}

func (l *single) Addr() net.Addr { return l.LocalAddr() }

// capturing is a session of the server.
type capturing struct {
	folder folder
	envelope
}

func (s *capturing) Mail(from string, _ *smtp.MailOptions) error {
	s.From = from
	return nil
}

func (s *capturing) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.To = append(s.To, to)
	return nil
}

func (s *capturing) Data(r io.Reader) error {
	if _, err := s.folder.keep(s.envelope, r); err != nil {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "cannot write to the folder"}
	}
	return nil
}

func (s *capturing) Reset()        { s.envelope = envelope{} }
func (s *capturing) Logout() error { return nil }

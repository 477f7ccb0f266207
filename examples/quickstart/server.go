package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"time"

	verifier "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/middleware/dkim"
)

// The world of the embedded server. Everything in it is made up.
const (
	demoUser     = "orders"
	demoPassword = "correct horse battery staple"
	demoDomain   = "shop.example"
	demoSelector = "quickstart"
	demoGreylist = "carol@example.org" // refused at first
)

// embedded is an SMTP server in this process. It insists on TLS, on AUTH and on
// a DKIM signature of demoDomain, and puts one recipient off at first.
type embedded struct {
	url       string
	authority *x509.Certificate  // vouches for its certificate
	key       ed25519.PrivateKey // of demoDomain, whose public half its DNS knows

	smtp     *smtp.Server
	listener net.Listener
	served   chan struct{} // closed when it no longer listens

	mu         sync.Mutex
	greylisted bool
	deliveries []arrival
}

// arrival is one message that the server took.
type arrival struct {
	queueID   string
	to        []string
	octets    int
	user      string
	tls       string
	signature string // what came of verifying it
}

// startEmbedded starts the server. The caller stops it.
func startEmbedded() (*embedded, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &embedded{url: "smtp://" + listener.Addr().String(), listener: listener, served: make(chan struct{})}
	var certificate tls.Certificate
	if certificate, e.authority, err = newCertificate(net.IPv4(127, 0, 0, 1)); err == nil {
		_, e.key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	e.smtp = smtp.NewServer(e)
	e.smtp.Domain = "mx.example.net"
	e.smtp.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	e.smtp.MaxMessageBytes = 1 << 20
	e.smtp.ErrorLog = log.New(io.Discard, "", 0) // the client says what went wrong
	go func() {
		defer close(e.served)
		_ = e.smtp.Serve(distant{listener, 5 * time.Millisecond}) // it ends with an error, since the listener is closed first
	}()
	return e, nil
}

// stop ends the server, once its connections are done with.
func (e *embedded) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = e.listener.Close() // Shutdown would miss one that Serve has not seen yet
	<-e.served
	_ = e.smtp.Shutdown(ctx) // it fails when the time is up, and all is over anyway
}

// arrivals returns the messages that the server took.
func (e *embedded) arrivals() []arrival {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]arrival(nil), e.deliveries...)
}

// NewSession is called for each connection, and again when it has TLS.
func (e *embedded) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &embeddedSession{server: e, conn: c}, nil
}

// lookupTXT is the server's DNS: it knows one key.
func (e *embedded) lookupTXT(name string) ([]string, error) {
	if name != demoSelector+"._domainkey."+demoDomain {
		return nil, fmt.Errorf("%s: no such name", name)
	}
	record, err := dkim.Record(e.key.Public())
	return []string{record}, err
}

// verify returns what came of verifying the signature of a message, and whether
// it is good.
func (e *embedded) verify(content []byte) (string, bool) {
	signatures, err := verifier.VerifyWithOptions(bytes.NewReader(content), &verifier.VerifyOptions{LookupTXT: e.lookupTXT})
	if err != nil {
		return err.Error(), false
	}
	if len(signatures) == 0 {
		return "no signature", false
	}
	for _, s := range signatures {
		if s.Err != nil {
			return s.Domain + ": " + s.Err.Error(), false
		}
	}
	return signatures[0].Domain, signatures[0].Domain == demoDomain
}

// embeddedSession is one connection to the server.
type embeddedSession struct {
	server *embedded
	conn   *smtp.Conn
	user   string
	to     []string
}

func (s *embeddedSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *embeddedSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(demoUser+"\x00"+demoPassword)) != 1 {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

func (s *embeddedSession) Mail(string, *smtp.MailOptions) error {
	if s.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	return nil
}

func (s *embeddedSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if to == demoGreylist && !s.server.greylisted {
		s.server.greylisted = true
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "Greylisted, try again in a moment"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *embeddedSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	signature, ok := s.server.verify(content)
	if !ok {
		// RFC 7372 §3.1
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 20}, Message: "No passing DKIM signature found: " + signature}
	}
	state, _ := s.conn.TLSConnectionState()
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	id := fmt.Sprintf("Q%d", len(s.server.deliveries)+1)
	s.server.deliveries = append(s.server.deliveries, arrival{id, s.to, len(content), s.user, tls.VersionName(state.Version), signature})
	// To go-smtp any reply but its own is an error.
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "OK: queued as " + id}
}

func (s *embeddedSession) Reset()        { s.to = nil }
func (s *embeddedSession) Logout() error { return nil }

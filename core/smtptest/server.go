package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
)

// Server is an SMTP or LMTP server on a loopback socket, which takes mail and
// keeps it. It announces PIPELINING, 8BITMIME, ENHANCEDSTATUSCODES, CHUNKING and
// SIZE, and more if its options say so. All methods are safe for concurrent use.
// For a bubble of testing/synctest, in which real sockets do not work, there is
// [Script].
type Server struct {
	options  ServerOptions
	t        testing.TB // nil after StartServer
	url      string
	listener *listener
	smtp     *smtp.Server
	trust    *tls.Config   // for clients
	served   chan struct{} // closed when no further connection is taken

	mu       sync.Mutex
	messages []Message
	changed  chan struct{} // closed, and replaced, with each message
	taken    int           // messages that have an ID
	failures []error
	closed   bool
	working  sync.WaitGroup // the functions under way
	closing  sync.Once
}

// NewServer returns a server for the time of the test. A panic in one of the
// options' functions fails the test.
func NewServer(t testing.TB, options ServerOptions) *Server {
	t.Helper()
	s, err := startServer(t, options)
	if err != nil {
		t.Fatal("smtptest.NewServer: ", err)
	}
	t.Cleanup(func() { _ = s.Close() }) // what it returns was reported
	return s
}

// StartServer returns a server, where there is no test. Its Close must be
// called.
func StartServer(options ServerOptions) (*Server, error) { return startServer(nil, options) }

func startServer(t testing.TB, options ServerOptions) (*Server, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	s := &Server{options: options, t: t, served: make(chan struct{}), changed: make(chan struct{})}
	if s.options.TLS == nil && (options.StartTLS || options.ImplicitTLS) {
		var err error
		if s.options.TLS, s.trust, err = newCertificate([]string{serverName, "localhost", "127.0.0.1", "::1"}); err != nil {
			return nil, err
		}
	}
	l, err := listen()
	if err != nil {
		return nil, err
	}
	s.url = s.options.scheme() + "://" + l.Addr().String()
	s.listener = &listener{Listener: l, conns: map[*serverConn]struct{}{}}
	s.smtp = s.newBackend()
	var serve net.Listener = s.listener
	if options.ImplicitTLS {
		serve = tls.NewListener(serve, s.options.TLS)
	}
	go func() {
		defer close(s.served)
		_ = s.smtp.Serve(serve) // it ends with an error, since the listener is closed first
	}()
	return s, nil
}

// newBackend returns the server that speaks the protocol.
func (s *Server) newBackend() *smtp.Server {
	o := &s.options
	b := smtp.NewServer(smtp.BackendFunc(s.newSession))
	b.Domain = serverName
	b.LMTP = o.Protocol == core.LMTP
	b.ErrorLog = log.New(io.Discard, "", 0) // the client says what went wrong
	b.MaxLineLength = 0                     // AUTH and content have lines of any length
	b.AllowInsecureAuth = o.TLS == nil
	if o.StartTLS {
		b.TLSConfig = o.TLS
	}
	if o.Dialogue != nil {
		b.Debug = &sharedWriter{w: o.Dialogue}
	}
	b.MaxMessageBytes, b.MaxRecipients = o.MaxSize, o.MaxRecipients
	b.EnableSMTPUTF8, b.EnableDSN, b.EnableBINARYMIME = o.SMTPUTF8, o.DSN, o.BINARYMIME
	b.EnableREQUIRETLS, b.EnableRRVS = o.REQUIRETLS, o.RRVS
	return b
}

// URL returns the server's URL, such as "smtp://127.0.0.1:40961". It works with
// any transport of its scheme; for one with TLS use the Config's as well.
func (s *Server) URL() string { return s.url }

// Config returns a configuration that reaches the server: its URL, a transport
// of its own for that, and the authority of its certificate, if it made that
// itself. The client's name in EHLO is client.example. If the server has users,
// set Auth.
func (s *Server) Config() core.Config {
	config := core.Config{Endpoint: s.url, Transports: []core.Transport{serverTransport{s}}, LocalName: clientName}
	if s.options.Remote {
		config.Endpoint = s.options.scheme() + "://" + serverName
	}
	if s.trust != nil {
		config.TLS = s.trust.Clone()
	}
	return Record(config)
}

// Messages returns what the server has accepted so far, in that order. A message
// is there before its client has read that it was accepted. The caller may keep
// what it gets, and must not change it.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Wait returns the messages as soon as there are n of them. If ctx ends before,
// it returns those that there are, and an error.
func (s *Server) Wait(ctx context.Context, n int) ([]Message, error) {
	for {
		s.mu.Lock()
		messages, changed := slices.Clone(s.messages), s.changed
		s.mu.Unlock()
		if len(messages) >= n {
			return messages, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return messages, fmt.Errorf("smtptest: %d of %d messages have come: %w", len(messages), n, context.Cause(ctx))
		}
	}
}

// Close stops the server: it closes the connections, whatever happens on them,
// and waits for the functions of the options to return. It returns an error if
// one of them panicked. Messages may be asked for afterwards.
func (s *Server) Close() error {
	s.closing.Do(func() {
		s.listener.closeAll()
		<-s.served
		_ = s.smtp.Shutdown(context.Background()) // waits; all it could fail with is the listener
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.working.Wait()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.failures...)
}

// begin announces that a function of the options may run until the returned
// function is called. It refuses once the server is closed.
func (s *Server) begin() (end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	s.working.Add(1)
	return s.working.Done, true
}

// newID returns a name for a message.
func (s *Server) newID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	return "Q" + strconv.Itoa(s.taken)
}

func (s *Server) keep(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
	close(s.changed)
	s.changed = make(chan struct{})
}

// fail reports a mistake in the options' functions.
func (s *Server) fail(err error) {
	s.mu.Lock()
	s.failures = append(s.failures, err)
	s.mu.Unlock()
	if s.t != nil {
		s.t.Errorf("smtptest.Server: %v", err)
	}
}

// sharedWriter lets connections share a writer.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *sharedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

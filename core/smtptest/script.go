package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
)

// patience is how long Close waits for a client to close its connection.
const patience = 10 * time.Second

// Options vary what a [Script] is. The zero value is an SMTP server on this
// machine, in clear text.
type Options struct {
	// Protocol is SMTP or LMTP.
	Protocol core.Protocol
	// Remote makes the endpoint one that is not on this machine, so that the
	// client's rules for TLS hold.
	Remote bool
	// ImplicitTLS makes the endpoint one with TLS from the first octet. The
	// server begins each connection with a handshake, unless TLS is nil: then
	// it is one that speaks clear text, or nothing, on a port for TLS.
	ImplicitTLS bool
	// TLS is the server's configuration, for the TLS step and ImplicitTLS.
	// [NewCertificate] makes one.
	TLS *tls.Config
	// OverTCP uses loopback sockets instead of in-memory pipes. How octets are
	// divided into writes is not checked then, and what the client writes it
	// may write ahead, into the buffers between the two. Not for use in a
	// bubble of testing/synctest.
	OverTCP bool
}

// Script is a server that plays a dialogue, one step a line. White space in
// front of a step, empty lines, and lines that begin with # are left out. At the
// end of its part of the dialogue each connection must end without another
// octet, and at the end of the test all of the dialogue must have been played.
// A connection beyond the last one is refused.
//
// # What the server says
//
// A line, with CRLF behind it. Lines that follow each other leave in one write:
//
//	S: 250-mx.example
//	S: 250 PIPELINING
//
// The octets of a Go string, and no line end. A reply that breaks off:
//
//	S~ "250-mx.exa"
//	CLOSE
//
// Nothing, for a time. What stands in front of it leaves first, so PAUSE 0s
// divides what the server says into two writes. A slow reply, and one to a
// command that was never given:
//
//	PAUSE 90s
//	S: 250 ok
//	PAUSE 10ms
//	S: 250 and another thing
//
// A little, and again after each time, until the client closes the connection:
//
//	DRIP 5s x
//
// # What the client is to say
//
// A line, at the beginning of a write; and one in the same write as the line
// before it. The envelope of a client that uses PIPELINING:
//
//	C: MAIL FROM:<alice@example.com>
//	C| RCPT TO:<bob@example.net>
//	C| DATA
//
// A line that is not known in advance: all of it, without CRLF, must match the
// regular expression. Here and in the next two steps it does not matter how the
// client divides octets into writes:
//
//	C/ MAIL FROM:<alice@example\.com> SIZE=\d+
//
// The octets of a Go string, which may end in the middle of a line. A server
// that goes away while the client writes:
//
//	C~ "Subject: hel"
//	RESET
//
// Content, whatever it is, up to and including the line that is a single dot:
//
//	S: 354 go on
//	CONTENT
//	S: 250 2.0.0 queued as 7
//
// # TLS
//
// A handshake, with Options.TLS. If it fails, no further step of the connection
// is played, and that is an error if the client was to say something in one:
//
//	C: STARTTLS
//	S: 220 go ahead
//	TLS
//	C: EHLO client.example
//
// # How a connection ends
//
// After the last step the server waits for the client to close the connection.
// These steps do otherwise, and are the last on their connection:
//
//	CLOSE    the server closes the connection, without a word of TLS; over TCP
//	         that is a reset for a client that wrote more than was read
//	RESET    the server resets the connection (TCP RST); only with OverTCP
//	HANG     the server waits for the client to close the connection, before
//	         which nothing may come: the same as no step, but easier to see
//	STALL    the server reads nothing until the client closes the connection
//	IGNORE   the server reads and drops all that comes until then
//
// The next connection begins with three hyphens. A client that finds its
// connection dead and makes another:
//
//	C: MAIL FROM:<alice@example.com>
//	S: 421 4.3.2 shutting down
//	CLOSE
//	---
//	S: 220 mx.example
type Script struct {
	t        testing.TB // nil after StartScript
	options  Options
	parts    [][]step
	listener net.Listener // with OverTCP
	dialling sync.Mutex   // so that each client gets its own server

	mu       sync.Mutex
	players  []*player // one for each connection made
	failures []error
	closed   bool
	running  sync.WaitGroup
	closing  sync.Once
}

// NewScript returns a server that plays the dialogue, and fails the test if the
// client does not. The server is stopped when the test ends, after the cleanup
// functions that were registered later: close the client in one of those, or
// before.
func NewScript(t testing.TB, dialogue string, options Options) *Script {
	t.Helper()
	s, err := StartScript(dialogue, options)
	if err != nil {
		t.Fatal("smtptest.NewScript: ", err)
	}
	s.t = t
	t.Cleanup(func() { _ = s.Close() }) // what it returns was reported
	return s
}

// StartScript returns a server that plays the dialogue, where there is no test.
// Its Close must be called, and tells what the client did not do.
func StartScript(dialogue string, options Options) (*Script, error) {
	parts, err := parseDialogue(dialogue, &options)
	if err != nil {
		return nil, err
	}
	s := &Script{options: options, parts: parts}
	if options.OverTCP {
		if s.listener, err = listen(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close waits until the client has closed its connections, and stops the server.
// It returns nil if the dialogue was played to its end, and everything that
// differed from it otherwise. A client that has not closed its connections after
// ten seconds is one of these things.
func (s *Script) Close() error {
	s.closing.Do(s.end)
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.failures...)
}

func (s *Script) end() {
	s.mu.Lock()
	s.closed = true
	players := s.players
	s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close()
	}
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		for _, p := range players {
			p.abandon()
		}
		<-ended
	}
	if n := len(players); n < len(s.parts) && len(s.parts[n]) > 0 {
		st := s.parts[n][0]
		s.fail(fmt.Errorf("the client made %d of the dialogue's %d connections: line %d was not played\n\tstep: %s", n, len(s.parts), st.line, st.text))
	}
}

// fail reports something that differs from the dialogue.
func (s *Script) fail(err error) {
	s.mu.Lock()
	s.failures = append(s.failures, err)
	s.mu.Unlock()
	if s.t != nil {
		s.t.Errorf("smtptest.Script: %v", err)
	}
}

// Config returns a configuration that reaches the server. The client's name in
// EHLO is client.example, and the server's host name server.example.
func (s *Script) Config() core.Config {
	return Record(core.Config{
		Endpoint:   "script://" + serverName,
		Transports: []core.Transport{scriptTransport{s}},
		LocalName:  clientName,
	})
}

type scriptTransport struct{ s *Script }

func (scriptTransport) Scheme() string { return "script" }

func (t scriptTransport) Endpoint(u *url.URL) (core.Endpoint, error) {
	e := core.Endpoint{Network: "script", Address: u.Host, ServerName: u.Host, Protocol: t.s.options.Protocol, Local: !t.s.options.Remote}
	if t.s.options.ImplicitTLS {
		e.Security = core.ImplicitTLS
	}
	return e, nil
}

func (t scriptTransport) Dial(ctx context.Context, _ core.Endpoint) (net.Conn, error) {
	s := t.s
	s.dialling.Lock()
	defer s.dialling.Unlock()
	client, server, err := s.pair(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	n := len(s.players)
	if err = s.refusal(n); err != nil {
		s.mu.Unlock()
		return nil, errors.Join(err, client.Close(), server.Close())
	}
	p := newPlayer(s, n+1, server)
	s.players = append(s.players, p)
	s.running.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.running.Done()
		p.run(s.parts[n])
	}()
	return p.watch(client), nil
}

// refusal returns why there can be no further connection after n, or nil.
func (s *Script) refusal(n int) error {
	switch {
	case s.closed:
		return errors.New("the script is closed")
	case n >= len(s.parts):
		return fmt.Errorf("connection refused: the dialogue has %d", n)
	}
	return nil
}

// pair returns the two ends of a new connection.
func (s *Script) pair(ctx context.Context) (client, server net.Conn, err error) {
	if s.listener == nil {
		client, server = net.Pipe()
		return client, server, nil
	}
	var d net.Dialer
	if client, err = d.DialContext(ctx, "tcp", s.listener.Addr().String()); err != nil {
		return nil, nil, err
	}
	for {
		if server, err = s.listener.Accept(); err != nil {
			return nil, nil, errors.Join(err, client.Close())
		}
		if server.RemoteAddr().String() == client.LocalAddr().String() {
			return client, server, nil
		}
		_ = server.Close() // left behind by a client that gave up while it dialled
	}
}

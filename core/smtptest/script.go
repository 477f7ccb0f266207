package smtptest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
)

// Options vary what a [Script] is. The zero value is an SMTP server on this
// machine, in clear text.
type Options struct {
	// Protocol is SMTP or LMTP.
	Protocol core.Protocol
	// Remote makes the endpoint one that is not on this machine, so that the
	// client's rules for TLS hold.
	Remote bool
	// ImplicitTLS begins each connection with a handshake.
	ImplicitTLS bool
	// TLS is the server's configuration, for the TLS step and ImplicitTLS.
	TLS *tls.Config
	// OverTCP uses loopback sockets instead of in-memory pipes. How octets are
	// divided into writes is not checked then.
	OverTCP bool
}

// Script is a server that plays a dialogue. A dialogue has one step a line:
//
//	S: text     the server sends the line
//	S~ "text"   the server sends the Go string, and no line end
//	C: text     the client sends the line, at the beginning of a write
//	C| text     the client sends the line, in the same write as the one before
//	TLS         the server does a TLS handshake
//	DRIP 5s x   the server sends the text, and after that time again, and so on
//	            until the client closes the connection
//	CLOSE       the server closes the connection
//	HANG        the server waits until the client closes the connection
//	STALL       the server reads nothing until the client closes the connection;
//	            not with OverTCP, which could not tell
//	IGNORE      the server reads and drops all that comes until the client
//	            closes the connection
//	---         the next connection begins
//
// Lines end in CRLF on the wire. White space in front of a step, empty lines
// and lines that begin with # are left out. At the end of its part of the
// dialogue each connection must end without another octet, and at the end of
// the test all of the dialogue must have been played.
type Script struct {
	t       testing.TB
	options Options
	parts   [][]step
	network net.Listener // with OverTCP

	mu      sync.Mutex
	played  int
	running sync.WaitGroup
}

type step struct {
	line      int
	verb, arg string
}

// NewScript returns a server that plays the dialogue, and fails the test if the
// client does not. The server is stopped when the test ends, after the cleanup
// functions that were registered later.
func NewScript(t testing.TB, dialogue string, options Options) *Script {
	t.Helper()
	s := &Script{t: t, options: options, parts: [][]step{nil}}
	for n, line := range strings.Split(dialogue, "\n") {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if line == "---" {
			s.parts = append(s.parts, nil)
			continue
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "S:", "C:", "C|", "TLS", "DRIP", "CLOSE", "HANG", "STALL", "IGNORE":
		case "S~":
			text, err := strconv.Unquote(arg)
			if err != nil {
				t.Fatalf("line %d of the dialogue: %s is not a Go string", n+1, arg)
			}
			arg = text
		default:
			t.Fatalf("line %d of the dialogue: no such step: %q", n+1, line)
		}
		last := len(s.parts) - 1
		s.parts[last] = append(s.parts[last], step{n + 1, verb, arg})
	}
	if options.OverTCP {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.network = l
		t.Cleanup(func() { _ = l.Close() })
	}
	t.Cleanup(s.end)
	return s
}

// end waits for the connections and checks that nothing is left to play.
func (s *Script) end() {
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.played < len(s.parts) && len(s.parts[s.played]) > 0 {
		s.t.Errorf("the dialogue has %d connections, the client made %d", len(s.parts), s.played)
	}
}

// Config returns a configuration that reaches the server. The client's name in
// EHLO is client.example, and the server's host name server.example.
func (s *Script) Config() core.Config {
	return core.Config{
		Endpoint:   "script://server.example",
		Transports: []core.Transport{scriptTransport{s}},
		LocalName:  "client.example",
	}
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
	s.mu.Lock()
	n := s.played
	if n >= len(s.parts) {
		s.mu.Unlock()
		return nil, errors.New("the dialogue has no further connection")
	}
	s.played++
	s.mu.Unlock()
	client, server, err := s.pair(ctx)
	if err != nil {
		return nil, err
	}
	p := &player{script: s, conn: server, in: bufio.NewReaderSize(server, 1<<20)}
	if !s.options.OverTCP {
		closed := make(chan struct{})
		p.clientClosed = closed
		client = &closeNotifier{Conn: client, closed: closed}
	}
	s.running.Go(func() {
		defer func() { _ = server.Close() }()
		if err := p.play(s.parts[n]); err != nil {
			s.t.Errorf("connection %d: %v", n+1, err)
		}
	})
	return client, nil
}

// pair returns the two ends of a new connection.
func (s *Script) pair(ctx context.Context) (client, server net.Conn, err error) {
	if s.network == nil {
		client, server = net.Pipe()
		return client, server, nil
	}
	var d net.Dialer
	if client, err = d.DialContext(ctx, "tcp", s.network.Addr().String()); err != nil {
		return nil, nil, err
	}
	server, err = s.network.Accept()
	return client, server, err
}

// player plays the server's side of one connection.
type player struct {
	script *Script
	conn   net.Conn
	in     *bufio.Reader
	out    []byte

	clientClosed <-chan struct{} // nil with OverTCP
}

// closeNotifier tells that the client has closed its end.
type closeNotifier struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeNotifier) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (p *player) play(steps []step) error {
	if p.script.options.ImplicitTLS {
		if err := p.handshake(); err != nil {
			return nil // the client's to report
		}
	}
	for _, st := range steps {
		if st.verb == "S:" || st.verb == "S~" {
			p.out = append(p.out, st.arg...)
			if st.verb == "S:" {
				p.out = append(p.out, "\r\n"...)
			}
			continue
		}
		p.flush()
		switch st.verb {
		case "C:", "C|":
			if err := p.expect(st); err != nil {
				return err
			}
		case "TLS":
			if err := p.handshake(); err != nil {
				return p.drain()
			}
		case "DRIP":
			return p.drip(st)
		case "CLOSE":
			return nil
		case "HANG":
			return p.drain()
		case "STALL":
			if p.clientClosed == nil {
				return fmt.Errorf("line %d: STALL with OverTCP", st.line)
			}
			<-p.clientClosed
			return nil
		case "IGNORE":
			_, _ = io.Copy(io.Discard, p.in)
			return nil
		}
	}
	p.flush()
	return p.drain()
}

// flush sends what the server has said since the client last spoke, in one
// write. Whether the client is still there to hear it is the client's business.
func (p *player) flush() {
	if len(p.out) > 0 {
		_, _ = p.conn.Write(p.out)
		p.out = p.out[:0]
	}
}

func (p *player) expect(st step) error {
	if !p.script.options.OverTCP {
		switch buffered := p.in.Buffered(); {
		case st.verb == "C:" && buffered > 0:
			rest, _ := p.in.Peek(buffered)
			return fmt.Errorf("line %d: want %q in a write of its own, but the last write goes on with %.200q", st.line, st.arg, rest)
		case st.verb == "C|" && buffered == 0:
			return fmt.Errorf("line %d: want %q in the same write as the line before, but that write is over", st.line, st.arg)
		}
	}
	line, err := p.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("line %d: want %q, got %q and %w", st.line, st.arg, line, err)
	}
	if line != st.arg+"\r\n" {
		return fmt.Errorf("line %d: want %q, got %q", st.line, st.arg+"\r\n", line)
	}
	return nil
}

// drip sends a little now and then.
func (p *player) drip(st step) error {
	every, text, _ := strings.Cut(st.arg, " ")
	d, err := time.ParseDuration(every)
	if err != nil {
		return fmt.Errorf("line %d: %w", st.line, err)
	}
	for {
		if _, err := io.WriteString(p.conn, text); err != nil {
			return nil // the client has had enough
		}
		<-time.After(d)
	}
}

// drain waits for the end of the connection, before which nothing more may come.
func (p *player) drain() error {
	rest, _ := io.ReadAll(p.in)
	if len(rest) > 0 {
		return fmt.Errorf("after the end of the dialogue the client sent %.200q", rest)
	}
	return nil
}

func (p *player) handshake() error {
	if p.script.options.TLS == nil {
		return errors.New("Options.TLS is not set")
	}
	conn := tls.Server(p.conn, p.script.options.TLS)
	if err := conn.Handshake(); err != nil {
		return err
	}
	p.conn, p.in = conn, bufio.NewReaderSize(conn, 1<<20)
	return nil
}

package telemetry_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// What a test's answer may be instead of a reply.
const (
	usual   = ""        // what a good server says
	hangUp  = "hang up" // close the connection
	silence = "say nothing"
)

// smtpServer is a server that does as the test says, and otherwise what a good
// server does. It reads content up to the dot before it asks for an answer to
// it, which comes under the name ".".
type smtpServer struct {
	// answer gives the reply to a line. It is called by one goroutine for each
	// connection.
	answer   func(line string) string
	announce []string    // the lines of the reply to EHLO, after the first
	tls      *tls.Config // announces STARTTLS

	sessions sync.WaitGroup
}

// serve starts a server and returns its address. It is gone when the test is.
func serve(t testing.TB, s *smtpServer) (address string) {
	t.Helper()
	return serveOn(t, s, "tcp", "127.0.0.1:0")
}

func serveOn(t testing.TB, s *smtpServer, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s.sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.sessions.Go(func() { (&smtpSession{server: s, conn: conn}).run() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.sessions.Wait()
	})
	return l.Addr().String()
}

type smtpSession struct {
	server *smtpServer
	conn   net.Conn
	secure bool
}

func (c *smtpSession) run() {
	defer func() { _ = c.conn.Close() }()
	in := bufio.NewReader(c.conn)
	if !c.say("greeting", "220 test.example ESMTP") {
		return
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, argument, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		switch verb {
		case "EHLO", "LHLO":
			if !c.say(string(line), c.hello()) {
				return
			}
		case "STARTTLS":
			if !c.say("STARTTLS", "220 2.0.0 go on") {
				return
			}
			if c.server.tls == nil {
				continue
			}
			stream := tls.Server(c.conn, c.server.tls)
			if stream.Handshake() != nil {
				return
			}
			c.conn, c.secure = stream, true
			in.Reset(stream)
		case "AUTH":
			if !c.say(string(line), "235 2.7.0 welcome") {
				return
			}
		case "DATA":
			answer := c.server.reply("DATA")
			if answer == usual {
				answer = "354 go on"
			}
			if !c.write(answer) {
				return
			}
			if answer[0] != '3' {
				continue
			}
			if !skipContent(in) || !c.say(".", "250 2.0.0 Ok: queued as 4Fx12c3D5Z") {
				return
			}
		case "BDAT":
			size, err := strconv.Atoi(strings.TrimSuffix(argument, " LAST"))
			if err != nil {
				return
			}
			if _, err := in.Discard(size); err != nil || !c.say(".", "250 2.0.0 Ok: queued as 4Fx12c3D5Z") {
				return
			}
		case "QUIT":
			c.say("QUIT", "221 2.0.0 bye")
			return
		default:
			if !c.say(string(line), "250 2.1.0 fine") {
				return
			}
		}
	}
}

// say writes the test's answer to a line, or else the usual one.
func (c *smtpSession) say(line, usually string) bool {
	answer := c.server.reply(line)
	if answer == usual {
		answer = usually
	}
	return c.write(answer)
}

func (c *smtpSession) write(answer string) bool {
	switch answer {
	case hangUp:
		return false
	case silence:
		return true
	}
	_, err := c.conn.Write([]byte(answer + "\r\n"))
	return err == nil
}

func (s *smtpServer) reply(line string) string {
	if s.answer == nil {
		return usual
	}
	return s.answer(strings.TrimSpace(line))
}

func (c *smtpSession) hello() string {
	lines := append([]string{"test.example"}, c.server.announce...)
	if c.server.tls != nil && !c.secure {
		lines = append(lines, "STARTTLS")
	}
	for i := range lines {
		lines[i] = map[bool]string{false: "250-", true: "250 "}[i == len(lines)-1] + lines[i]
	}
	return strings.Join(lines, "\r\n")
}

func skipContent(in *bufio.Reader) bool {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			return true
		}
	}
}

// refuse is a server that refuses one recipient.
func refuse(recipient, reply string) *smtpServer {
	return &smtpServer{answer: func(line string) string {
		if strings.HasPrefix(line, "RCPT") && strings.Contains(line, recipient) {
			return reply
		}
		return usual
	}}
}

// once answers the first command of a verb with a reply, and the next as usual.
func once(verb, reply string) func(line string) string { return nth(1, verb, reply) }

// nth answers the n-th command of a verb with a reply, and the others as usual.
func nth(n int32, verb, reply string) func(line string) string {
	var seen atomic.Int32
	return func(line string) string {
		if strings.HasPrefix(line, verb) && seen.Add(1) == n {
			return reply
		}
		return usual
	}
}

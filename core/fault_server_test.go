package core_test

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/postrider/postrider/core"
)

// faultServer keeps what it accepts, whatever becomes of its reply. It has no
// patience with a client that is out of step, and the first letter of a local
// part tells it what to do:
//
//	n  refuse the sender, or the recipient
//	p  refuse the content from this sender
//	f  refuse the content for this recipient, where each has a reply
//	g  say 354 to this sender's DATA, though no recipient stands
//
// Every reply that decides names the sender or the recipient, so that a client
// that takes it for another's gives itself away.
type faultServer struct {
	protocol   core.Protocol
	extensions []string

	mu     sync.Mutex
	stored map[string][]string // contents by recipient
	wrong  []string            // what no client in step says
	gate   chan struct{}       // what MAIL waits for, or nil
}

// hold has the replies wait, from the next MAIL on.
func (s *faultServer) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

func (s *faultServer) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil {
		close(s.gate)
		s.gate = nil
	}
}

func (s *faultServer) waitAtGate() {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

func (s *faultServer) serve(in io.Reader, out io.WriteCloser) {
	defer out.Close()
	c := faultSession{server: s, in: bufio.NewReader(in), out: out}
	c.say("220 x")
	for c.command() {
	}
}

// faultSession is one connection to a faultServer.
type faultSession struct {
	server *faultServer
	in     *bufio.Reader
	out    io.Writer

	open    bool // MAIL was accepted
	failed  bool // BDAT was refused, and RSET is due (RFC 3030 §2)
	each    bool // PRDR was asked for
	from    string
	to      []string
	content strings.Builder // of chunks so far
}

func (c *faultSession) say(lines ...string) {
	_, _ = io.WriteString(c.out, strings.Join(lines, "\r\n")+"\r\n")
}

func (c *faultSession) complain(line string) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.wrong = append(c.server.wrong, line)
}

func (c *faultSession) reset() {
	*c = faultSession{server: c.server, in: c.in, out: c.out, failed: c.failed}
}

// command does one command. It reports whether there may be another.
func (c *faultSession) command() bool {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return false
	}
	verb, argument, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), " ")
	switch verb {
	case "EHLO", "LHLO":
		lines := []string{"250 x"}
		for _, e := range c.server.extensions {
			lines = append(lines[:len(lines)-1], strings.Replace(lines[len(lines)-1], " ", "-", 1), "250 "+e)
		}
		c.say(lines...)
	case "RSET":
		c.failed = false
		c.reset()
		c.say("250 ok")
	case "MAIL":
		c.server.waitAtGate()
		c.mail(line, argument)
	case "RCPT":
		c.rcpt(argument)
	case "DATA":
		return c.data()
	case "BDAT":
		return c.bdat(line)
	case "QUIT":
		c.say("221 x")
		return false
	default:
		c.complain(line)
		c.say("500 what")
	}
	return true
}

// localPart returns the local part of the path in a command's argument.
func localPart(argument string) string {
	_, path, _ := strings.Cut(argument, "<")
	name, _, _ := strings.Cut(path, "@")
	return name
}

func (c *faultSession) mail(line, argument string) {
	if c.open || c.failed {
		c.complain(line)
		c.say("503 no RSET")
		return
	}
	c.reset()
	c.from = localPart(argument)
	if c.from[0] == 'n' {
		c.say("550 " + c.from)
		return
	}
	c.open, c.each = true, strings.HasSuffix(argument, " PRDR")
	c.say("250 ok")
}

func (c *faultSession) rcpt(argument string) {
	to := localPart(argument)
	switch {
	case !c.open:
		c.say("503 no MAIL")
	case to[0] == 'n':
		c.say("550 " + to)
	default:
		c.to = append(c.to, to)
		c.say("250 ok")
	}
}

func (c *faultSession) data() bool {
	if len(c.to) == 0 && (!c.open || c.from[0] != 'g') {
		c.say("503 no RCPT")
		return true
	}
	c.say("354 go")
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		c.content.WriteString(strings.TrimPrefix(line, "."))
	}
	c.deliver()
	c.reset()
	return true
}

func (c *faultSession) bdat(line string) bool {
	var n int64
	var last string
	if k, _ := fmt.Sscanf(line, "BDAT %d %s", &n, &last); k == 0 {
		c.complain(line)
		return false
	}
	c.content.Grow(int(n))
	if _, err := io.CopyN(&c.content, c.in, n); err != nil {
		return false
	}
	switch {
	case len(c.to) == 0:
		c.failed = true
		c.say("503 no RCPT")
	case last == "":
		c.say("250 more")
	default:
		c.failed = !c.deliver()
		c.reset()
	}
	return true
}

// deliver keeps the content and only then says so. It reports whether anybody
// has it.
func (c *faultSession) deliver() (kept bool) {
	each := c.each || c.server.protocol == core.LMTP
	code := map[string]string{}
	for _, to := range c.to {
		switch {
		case c.from[0] == 'p':
			code[to] = "554 "
		case each && to[0] == 'f':
			code[to] = "452 "
		default:
			code[to] = "250 "
			kept = true
		}
	}
	c.server.mu.Lock()
	for to, said := range code {
		if said == "250 " {
			c.server.stored[to] = append(c.server.stored[to], c.content.String())
		}
	}
	c.server.mu.Unlock()
	if each && (kept || c.server.protocol == core.LMTP) && len(c.to) > 0 {
		if c.each {
			c.say("353 each")
		}
		for _, to := range c.to {
			c.say(code[to] + to)
		}
		if !c.each {
			return kept
		}
	}
	if kept {
		c.say("250 " + c.from)
	} else {
		c.say("554 " + c.from)
	}
	return kept
}

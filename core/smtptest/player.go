package smtptest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// player plays the server's side of one connection.
type player struct {
	script *Script
	number int      // of the connection, from 1
	raw    net.Conn // never changes
	conn   net.Conn // raw, or TLS over it
	in     *bufio.Reader
	out    []byte

	at        atomic.Pointer[step] // where it is
	abandoned atomic.Bool
	over      chan struct{} // closed when the client has closed its end, or is given up
	end       func()        // closes it
	ended     chan struct{} // closed when the player has
}

func newPlayer(s *Script, number int, conn net.Conn) *player {
	p := &player{script: s, number: number, raw: conn, over: make(chan struct{}), ended: make(chan struct{})}
	p.end = sync.OnceFunc(func() { close(p.over) })
	p.use(conn)
	return p
}

// use makes conn what is read from and written to.
func (p *player) use(conn net.Conn) { p.conn, p.in = conn, bufio.NewReaderSize(conn, 1<<20) }

// watch returns the client's end of the connection such that the player gets to
// know when it is closed.
func (p *player) watch(client net.Conn) net.Conn {
	if tcp, ok := client.(*net.TCPConn); ok {
		// The type must stay one whose socket can be asked for.
		return &watchedTCP{TCPConn: tcp, closed: p.end}
	}
	return &watchedPipe{Conn: client, closed: p.end}
}

type watchedPipe struct {
	net.Conn
	closed func()
}

func (c *watchedPipe) Close() error {
	c.closed()
	return c.Conn.Close()
}

type watchedTCP struct {
	*net.TCPConn
	closed func()
}

func (c *watchedTCP) Close() error {
	c.closed()
	return c.TCPConn.Close()
}

// run plays the steps and closes the connection.
func (p *player) run(steps []step) {
	defer close(p.ended)
	err := p.play(steps)
	_ = p.raw.Close()
	if err != nil && !p.abandoned.Load() {
		p.script.fail(err)
	}
}

// abandon ends a connection that the client does not close.
func (p *player) abandon() {
	select {
	case <-p.over:
		return
	case <-p.ended:
		return
	default:
	}
	p.abandoned.Store(true)
	where := "the dialogue is over"
	if st := p.at.Load(); st != nil {
		where = fmt.Sprintf("the server is at line %d of the dialogue\n\tstep: %s", st.line, st.text)
	}
	p.script.fail(fmt.Errorf("connection %d is still open %v after the test: close the client first; %s", p.number, patience, where))
	p.end()
	_ = p.raw.Close()
}

func (p *player) play(steps []step) error {
	switch o := &p.script.options; {
	case !o.ImplicitTLS:
	case o.TLS != nil:
		if err := p.handshake(); err != nil {
			return p.noTLS(err, steps)
		}
	case !o.OverTCP:
		p.use(readAhead(p.conn)) // both sides begin to write
	}
	for i := range steps {
		st := &steps[i]
		p.at.Store(st)
		if st.verb == "S:" || st.verb == "S~" {
			p.out = append(p.out, st.arg...)
			continue
		}
		p.flush()
		switch {
		case st.fromClient():
			if err := p.expect(st); err != nil {
				return err
			}
		case st.verb == "TLS":
			if err := p.handshake(); err != nil {
				return p.noTLS(err, steps[i+1:])
			}
		case st.verb == "PAUSE":
			p.pause(st.wait)
		default:
			return p.finish(st)
		}
	}
	p.at.Store(nil)
	p.flush()
	return p.drain()
}

// finish plays a step that is the last of its connection.
func (p *player) finish(st *step) error {
	switch st.verb {
	case "RESET":
		return p.raw.(*net.TCPConn).SetLinger(0) // takes effect when it is closed
	case "HANG":
		return p.drain()
	case "STALL":
		<-p.over
	case "IGNORE":
		_, _ = io.Copy(io.Discard, p.in)
	case "DRIP":
		for {
			if _, err := io.WriteString(p.conn, st.arg); err != nil || p.pause(st.wait) {
				return nil // the client has had enough
			}
		}
	}
	return nil
}

// flush sends what the server has said since the client last spoke, in one
// write. Whether the client is still there to hear it is the client's business.
func (p *player) flush() {
	if len(p.out) > 0 {
		_, _ = p.conn.Write(p.out)
		p.out = p.out[:0]
	}
}

// pause waits, and reports whether the client closed the connection meanwhile.
func (p *player) pause(d time.Duration) (over bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-p.over:
		return true
	}
}

// expect reads what the client is to send.
func (p *player) expect(st *step) error {
	if err := p.checkWrite(st); err != nil {
		return err
	}
	switch st.verb {
	case "C~":
		got := make([]byte, len(st.arg))
		n, err := io.ReadFull(p.in, got)
		if string(got[:n]) != st.arg {
			return p.differs(st, fmt.Sprintf("%.200q", st.arg), got[:n], err)
		}
		return nil
	case "CONTENT":
		return p.content(st)
	}
	line, err := p.in.ReadString('\n')
	switch {
	case st.verb == "C/":
		if text, whole := strings.CutSuffix(line, "\r\n"); !whole || !st.pattern.MatchString(text) {
			return p.differs(st, "a line that matches "+st.arg, []byte(line), err)
		}
	case line != st.arg:
		return p.differs(st, fmt.Sprintf("%.200q", st.arg), []byte(line), err)
	}
	return nil
}

// checkWrite checks that the client divides its octets into writes as it should.
func (p *player) checkWrite(st *step) error {
	if p.script.options.OverTCP {
		return nil
	}
	switch buffered := p.in.Buffered(); {
	case st.verb == "C:" && buffered > 0:
		rest, _ := p.in.Peek(buffered)
		return p.failure(st, fmt.Sprintf("%.200q, in a write of its own", st.arg), fmt.Sprintf("it too early: the last write goes on with %.200q", rest))
	case st.verb == "C|" && buffered == 0:
		return p.failure(st, fmt.Sprintf("%.200q, in the same write as the line before", st.arg), "the end of that write")
	}
	return nil
}

// content reads to the end of the content.
func (p *player) content(st *step) error {
	last := ""
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			return p.differs(st, "content, and a line that is a single dot", []byte(last+line), err)
		}
		if line == ".\r\n" {
			return nil
		}
		last = line
	}
}

// differs says that the client sent something else.
func (p *player) differs(st *step, want string, got []byte, err error) error {
	what := fmt.Sprintf("%.200q", got)
	if err != nil {
		what += ", and then " + ending(err)
	}
	return p.failure(st, want, what)
}

func (p *player) failure(st *step, want, got string) error {
	return fmt.Errorf("connection %d, line %d of the dialogue\n\tstep: %s\n\twant: %s\n\tgot:  %s", p.number, st.line, st.text, want, got)
}

// ending says why there is no more to read.
func ending(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) {
		return "the end of the connection"
	}
	return err.Error()
}

// drain waits for the end of the connection, before which nothing more may come.
func (p *player) drain() error {
	if _, err := p.in.Peek(1); err != nil {
		return nil
	}
	// The client is not kept waiting: what has come is enough to complain.
	rest, _ := p.in.Peek(p.in.Buffered())
	hint := ""
	if strings.HasPrefix(string(rest), "QUIT\r\n") {
		hint = "\n\thint: a client says QUIT when it is closed; end the dialogue with C: QUIT and S: 221 bye"
	}
	return fmt.Errorf("connection %d: after its last step the client sent %.200q%s", p.number, rest, hint)
}

// handshake puts TLS over the connection.
func (p *player) handshake() error {
	below := p.conn
	if !p.script.options.OverTCP {
		// A pipe holds nothing. A client that gives up in the middle says so
		// while the server still writes, and both would wait for each other.
		ahead := readAhead(p.conn)
		defer ahead.stop()
		below = ahead
	}
	conn := tls.Server(below, p.script.options.TLS)
	if err := conn.Handshake(); err != nil {
		return err
	}
	p.use(conn)
	return nil
}

// noTLS ends a connection whose handshake failed. That is the client's to
// report, unless it had more to do.
func (p *player) noTLS(err error, steps []step) error {
	_, _ = io.Copy(io.Discard, p.raw)
	if i := slices.IndexFunc(steps, func(st step) bool { return st.fromClient() }); i >= 0 {
		return p.failure(&steps[i], "a TLS handshake that succeeds, and this step", ending(err))
	}
	return nil
}

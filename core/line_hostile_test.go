package core_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/core"
)

// manner is how a server that knows PIPELINING, and perhaps CHUNKING, reads
// and replies.
type manner struct {
	announces []string
	dripping  bool // it sends one octet at a time
	prompt    bool // it replies to each command before it reads the next
}

// mannered serves a connection. Whoever has an x in his address is refused, and
// content that holds "refuse". It says the address in each of its replies to
// RCPT and content, so that a wrong match shows.
func mannered(conn net.Conn, m manner) {
	in := bufio.NewReaderSize(conn, 16)
	var replies strings.Builder
	flush := func() bool {
		s := replies.String()
		replies.Reset()
		if s == "" {
			return true
		}
		if !m.dripping {
			_, err := io.WriteString(conn, s)
			return err == nil
		}
		for i := range s {
			if _, err := io.WriteString(conn, s[i:i+1]); err != nil {
				return false
			}
		}
		return true
	}
	say := func(format string, args ...any) bool {
		fmt.Fprintf(&replies, format+"\r\n", args...)
		return !m.prompt || flush()
	}
	content := func(to []string, text string) bool {
		switch {
		case len(to) == 0:
			return say("503 nobody")
		case strings.Contains(text, "refuse"):
			return say("554 %s %d", to[0], len(text))
		}
		return say("250 %s %d", to[0], len(text))
	}
	say("220 hi")
	var to []string
	for {
		if in.Buffered() == 0 && !flush() {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		going := true
		switch line[:4] {
		case "EHLO":
			going = say("250-mx\r\n250-%s\r\n250 HELP", strings.Join(m.announces, "\r\n250-"))
		case "RCPT":
			address := line[len("RCPT TO:<") : len(line)-3]
			if strings.HasPrefix(address, "x") {
				going = say("550 %s", address)
				break
			}
			to = append(to, address)
			going = say("250 %s", address)
		case "BDAT":
			var n int
			if _, err := fmt.Sscanf(line, "BDAT %d", &n); err != nil {
				return
			}
			p := make([]byte, n)
			if _, err := io.ReadFull(in, p); err != nil {
				return
			}
			going, to = content(to, string(p)), nil
		case "DATA":
			if len(to) == 0 {
				going = say("503 nobody")
				break
			}
			if !say("354 go on") || !flush() {
				return
			}
			var text strings.Builder
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				text.WriteString(line)
			}
			going, to = content(to, strings.TrimSuffix(text.String(), ".\r\n")), nil
		case "QUIT":
			say("221 bye")
			flush()
			return
		default:
			going = say("250 %s", line[:4])
			if line[:4] != "MAIL" {
				to = nil
			}
		}
		if !going {
			return
		}
	}
}

func TestLine_noDeadlockAndNoWrongMatchWhateverTheServersManners(t *testing.T) {
	for name, m := range map[string]manner{
		"it reads no further until its reply was read":       {prompt: true},
		"it reads all, and sends its replies octet by octet": {dripping: true},
		"it does both octet by octet":                        {dripping: true, prompt: true},
		"it replies when it has nothing more to read":        {},
	} {
		for _, announces := range [][]string{{"PIPELINING"}, chunked} {
			for _, depth := range []int{1, 16} {
				for _, unbuffered := range []bool{false, true} {
					if unbuffered && depth == 1 && m.prompt {
						continue // what is written must fit into the buffers between, RFC 2920 §3.1
					}
					t.Run(fmt.Sprintf("%s, %s, depth %d, unbuffered %v", name, announces[len(announces)-1], depth, unbuffered), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							m := m
							m.announces = announces
							c := newServed(t, func(_ int, conn net.Conn) {
								if !unbuffered {
									conn = buffered(conn)
								}
								mannered(conn, m)
							}, shared(depth, 1))
							var senders sync.WaitGroup
							recipients := 5000
							if m.dripping {
								recipients = 150
							}
							for i := range 60 {
								senders.Go(func() { checkMatch(t, c, i, recipients, unbuffered && m.prompt) })
							}
							senders.Wait()
						})
					})
				}
			}
		}
	}
}

// buffered returns conn with a buffer of 64 KiB for what is read from it.
func buffered(conn net.Conn) net.Conn {
	chunks := make(chan []byte, 64)
	go func() {
		defer close(chunks)
		for {
			p := make([]byte, 1<<10)
			n, err := conn.Read(p)
			if err != nil {
				return
			}
			chunks <- p[:n]
		}
	}()
	return &bufferedConn{Conn: conn, chunks: chunks}
}

type bufferedConn struct {
	net.Conn
	chunks chan []byte
	rest   []byte
}

func (c *bufferedConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		var ok bool
		if c.rest, ok = <-c.chunks; !ok {
			return 0, io.EOF
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// checkMatch sends a message of some kind and checks that the reply to it is its
// own.
func checkMatch(t *testing.T, c *core.Client, i, recipients int, small bool) {
	address := fmt.Sprintf("r%d@example.com", i)
	text := fmt.Sprintf("%s\r\n", strings.Repeat("x", i))
	want := fmt.Sprintf("250 %s %d", address, len(text))
	outcome := core.Accepted
	m := &core.Message{From: "a@example.com"}
	switch {
	case i%10 == 3:
		address = "x" + address
		want, outcome = "550 "+address, core.Refused
	case i%10 == 5:
		text = "refuse" + text
		want, outcome = fmt.Sprintf("554 %s %d", address, len(text)), core.Refused
	case i%10 == 7 && !small:
		text = strings.Repeat(strings.Repeat("y", 98)+"\r\n", 660+i)
		want = fmt.Sprintf("250 %s %d", address, len(text))
	}
	m.To, m.Body = core.Recipients(address), core.String(text)
	if i == 30 && !small { // many recipients, of whom some are refused
		for k := range recipients {
			m.To = append(m.To, core.Recipient{Address: fmt.Sprintf("%s%d@example.com", []string{"r", "x"}[k%2], k)})
		}
	}
	receipt, err := c.Send(t.Context(), m)
	got := receipt.Recipients[0]
	if got.Outcome != outcome || got.Reply.String() != want {
		t.Errorf("message %d is %s: %s, want %s: %v", i, got.Outcome, got.Reply, want, err)
	}
	if k := slices.IndexFunc(receipt.Recipients[1:], func(r core.RecipientResult) bool {
		return (r.Address[0] == 'x') != (r.Outcome == core.Refused) || r.Outcome == core.Refused && r.Reply.Text != r.Address
	}); k >= 0 {
		t.Errorf("message %d: recipient %d has the outcome of another: %+v", i, k+1, receipt.Recipients[k+1])
	}
}

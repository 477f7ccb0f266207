package core_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/core"
)

// onRead is a connection that tells of each Read, when it has its octets.
type onRead struct {
	net.Conn
	tell func(octets []byte)
}

func (c onRead) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tell(p[:n])
	return n, err
}

// tellingReads has tell called with what is read from each connection.
func tellingReads(tell func([]byte)) func(*core.Config) {
	return func(c *core.Config) {
		c.Transports = []core.Transport{wrapped{c.Transports[0], func(conn net.Conn) net.Conn { return onRead{conn, tell} }}}
	}
}

// A reply that was lost in a panic is nobody's: those behind it have their own,
// and whoever had written his content may have been accepted.
func TestLine_aPanicWhileAReplyIsReadEndsTheSession(t *testing.T) {
	for _, tt := range []struct {
		announces []string
		outcomes  string // of a message whose first, second, ... reply it is
	}{
		{chunked, "unknown unknown unknown"},
		{[]string{"PIPELINING"}, "refused refused refused unknown"},
	} {
		outcomes := strings.Fields(tt.outcomes)
		for nth := range 3 * len(outcomes) {
			for _, depth := range []int{1, 16} {
				t.Run(fmt.Sprintf("%s, reply %d, depth %d", tt.announces[len(tt.announces)-1], nth, depth), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var reads atomic.Int32
						c := newServed(t, func(_ int, conn net.Conn) { mannered(conn, manner{announces: tt.announces, prompt: true}) }, shared(depth, 1), tellingReads(func([]byte) {
							if reads.Add(1) == int32(2+nth+1) { // behind the greeting and EHLO
								panic("no")
							}
						}))
						for i := range 3 {
							s := begin(t, c, numbered(i))
							<-s.done
							want, text := core.Accepted.String(), fmt.Sprintf("r%d@example.com 4", i)
							if i == nth/len(outcomes) {
								want, text = outcomes[nth%len(outcomes)], ""
								if _, ok := errors.AsType[*core.PanicError](s.err); !ok {
									t.Errorf("message %d: error %v is no panic", i, s.err)
								}
							}
							if r := s.receipt.Recipients[0]; r.Outcome.String() != want || r.Reply.Text != text || s.receipt.Attempts != 1 {
								t.Errorf("message %d is %s with %q after %d attempts, want %s with %q: %v", i, r.Outcome, r.Reply.Text, s.receipt.Attempts, want, text, s.err)
							}
						}
					})
				})
			}
		}
	}
}

// The server waits for content that nobody is to have when the message's context
// ends. What there is of the transaction is still the reader's then, which the
// race detector checks.
func TestLine_aCancelWithTheReplyToDATAThatNobodyIsToFollow(t *testing.T) {
	var cancel context.CancelFunc
	c := newServed(t, func(_ int, conn net.Conn) {
		in := bufio.NewReader(conn)
		for line, err := "", error(nil); err == nil; line, err = in.ReadString('\n') {
			switch {
			case line == "":
				_, err = io.WriteString(conn, "220 hi\r\n")
			case line == ".\r\n":
				_, err = io.WriteString(conn, "503 nobody\r\n")
			case line[:4] == "EHLO":
				_, err = io.WriteString(conn, "250-mx\r\n250 PIPELINING\r\n")
			case line[:4] == "DATA":
				_, err = io.WriteString(conn, "250 ok\r\n550 no\r\n354 go on\r\n")
			case line[:4] == "QUIT":
				_, err = io.WriteString(conn, "221 bye\r\n")
			}
			if err != nil {
				return
			}
		}
	}, shared(16, 1), tellingReads(func(octets []byte) {
		if bytes.Contains(octets, []byte("354")) {
			cancel()
		}
	}))
	for range 1000 {
		var ctx context.Context
		ctx, cancel = context.WithCancel(t.Context())
		receipt, err := c.Send(ctx, numbered(0))
		if got := outcomes(receipt); got != "refused 550" && got != "deferred" {
			t.Errorf("%s: %v", got, err)
		}
		cancel()
	}
}

package core_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
)

// oneWriter is a connection that allows one Write at a time.
type oneWriter struct {
	net.Conn
	t    *testing.T
	busy atomic.Bool
}

func (c *oneWriter) Write(p []byte) (int, error) {
	if !c.busy.CompareAndSwap(false, true) {
		c.t.Errorf("%.20q is written while another write is under way", p)
		return 0, errors.New("another write is under way")
	}
	defer c.busy.Store(false)
	return c.Conn.Write(p)
}

// A server may have said everything before it has read everything.
func TestLine_whoIsToHaveTheSessionAloneWaitsForWhatIsBeingWritten(t *testing.T) {
	readsOn := func(conn net.Conn, in *bufio.Reader) {
		<-time.After(lastWords / 2)
		inContent := true // of the first message, to which it has replied
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if inContent {
				inContent = line != "hi\r\n"
				continue
			}
			var n int64
			_, _ = fmt.Sscanf(line, "BDAT %d", &n)
			if _, err := io.CopyN(io.Discard, in, n); err != nil {
				return
			}
			_, _ = io.WriteString(conn, "250 ok\r\n")
		}
	}
	for name, tt := range map[string]struct {
		then        func(net.Conn, *bufio.Reader)
		took        time.Duration
		connections int32
	}{
		"it goes on when the server reads on":                     {readsOn, lastWords / 2, 1},
		"it moves to another when the server has had time enough": {func(_ net.Conn, in *bufio.Reader) { <-time.After(time.Hour) }, lastWords, 2},
	} {
		for kind, change := range map[string]func(*core.Message){
			"large":    func(m *core.Message) { m.Body = core.String(strings.Repeat("large\r\n", 20_000)) },
			"one-shot": func(m *core.Message) { m.Body = core.Reader(strings.NewReader("once\r\n")) },
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var connections atomic.Int32
					c := newServed(t, func(n int, conn net.Conn) {
						connections.Add(1)
						if n > 1 {
							mannered(conn, manner{announces: chunked})
							return
						}
						hasty(conn, func(in *bufio.Reader) { tt.then(conn, in) })
					}, shared(16, 1), func(c *core.Config) {
						c.Transports = []core.Transport{wrapped{c.Transports[0], func(conn net.Conn) net.Conn { return &oneWriter{Conn: conn, t: t} }}}
					})
					start := time.Now()
					begin(t, c, numbered(0)).is(t, 0, "accepted 250")
					m := numbered(1)
					change(m)
					s := begin(t, c, m)
					s.is(t, kind, "accepted 250")
					if took := time.Since(start); took != tt.took || connections.Load() != tt.connections {
						t.Errorf("it took %v over %d connections, want %v over %d", took, connections.Load(), tt.took, tt.connections)
					}
				})
			})
		}
	}
}

// lastWords is how long a server has that has said everything.
const lastWords = time.Second

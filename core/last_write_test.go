package core_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/core"
)

// answeredConn is a connection on which the write that completes the content
// returns when everybody has done with the answer what they will.
type answeredConn struct {
	net.Conn
	size  int // of the content
	wrote []byte
}

func (c *answeredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	before := c.complete()
	if c.wrote = append(c.wrote, p...); !before && c.complete() {
		synctest.Wait()
	}
	return n, err
}

func (c *answeredConn) complete() bool {
	begin := bytes.Index(c.wrote, []byte("LAST\r\n"))
	return begin >= 0 && len(c.wrote) >= begin+len("LAST\r\n")+c.size
}

type answeredTransport struct {
	*bdatServer
	size int
}

func (t answeredTransport) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := t.bdatServer.Dial(ctx, e)
	return &answeredConn{Conn: conn, size: t.size}, err
}

// The last octet of the content is in the last write, however the content fills
// the buffers: a server that replies as soon as it has it all is not too early,
// and nothing is in doubt until then.
func TestContent_endsWithTheLastWrite(t *testing.T) {
	for size := 3<<15 - 64; size <= 3<<15+8; size++ {
		synctest.Test(t, func(t *testing.T) {
			server := newBdatServer(t)
			config := server.config()
			config.Transports = []core.Transport{answeredTransport{server, size}}
			c, err := core.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			content := strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64-1)
			content += strings.Repeat("y", size-len(content)-2) + "\r\n"
			m := message("b@example.com")
			m.Body = core.String(strings.ReplaceAll(content, "\r\n", "\n")) // the encoder has work to do
			if receipt, err := c.Send(t.Context(), m); err != nil {
				t.Errorf("%d octets: %s, %v", size, outcomes(receipt), err)
			}
			if got, _ := server.content(); string(got) != content {
				t.Errorf("%d octets: %d have arrived", size, len(got))
			}
		})
	}
}

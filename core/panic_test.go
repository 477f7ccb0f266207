package core_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestSend_aPanicOfTheConnectionIsContained(t *testing.T) {
	var trace []string
	for _, interceptors := range [][]core.Interceptor{nil, {tracer("innocent", &trace)}} {
		c := newClient(t, pipelining, smtptest.Options{}, func(c *core.Config) {
			c.Transports, c.Interceptors = []core.Transport{fragile{c.Transports[0]}}, interceptors
		})
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if p, ok := errors.AsType[*core.PanicError](err); !ok || p.Where != "the transport's connection" || receipt.Count(core.Refused) != 1 {
			t.Errorf("%s: %v", outcomes(receipt), err)
		}
	}
}

// fragile is a transport whose connections panic when MAIL is written.
type fragile struct{ core.Transport }

func (f fragile) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := f.Transport.Dial(ctx, e)
	return fragileConn{conn}, err
}

func TestSend_aPanicBesideTheWritingOfContentIsContained(t *testing.T) {
	// A goroutine listens for an early reply there.
	c := newClient(t, pipelining+envelope+goOn+"IGNORE", smtptest.Options{}, func(c *core.Config) {
		c.Transports = []core.Transport{deaf{c.Transports[0]}}
	})
	m := message("b@example.com")
	m.Body = core.Reader(strings.NewReader("hi\r\n"))
	_, err := c.Send(t.Context(), m)
	if err == nil || !strings.Contains(err.Error(), "panic in the transport's connection") {
		t.Error(err)
	}
}

// deaf is a transport whose connections panic at the fourth Read: after greeting,
// EHLO and envelope.
type deaf struct{ core.Transport }

func (d deaf) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := d.Transport.Dial(ctx, e)
	return &deafConn{Conn: conn}, err
}

type deafConn struct {
	net.Conn
	reads int
}

func (c *deafConn) Read(p []byte) (int, error) {
	if c.reads++; c.reads == 4 {
		panic("no")
	}
	return c.Conn.Read(p)
}

type fragileConn struct{ net.Conn }

func (c fragileConn) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "MAIL") {
		panic("no")
	}
	return c.Conn.Write(p)
}

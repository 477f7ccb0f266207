package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
)

// carries checks a transport: what it makes of URLs, and its connections.
func (k *kit) carries(t *testing.T, scheme string) {
	p := k.start(t)
	transport, err := p.Transport(scheme)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a URL that is odd is no reason to fail", func(t *testing.T) {
		pid := p.Status().PID
		for _, rest := range []string{":", "://", ":opaque", "://:0", "://[::1]:99999?a=b;c&%zz#f", "://host.example/a/../b"} {
			u, err := url.Parse(scheme + rest)
			if err != nil {
				continue
			}
			_, err = transport.Endpoint(u)
			if _, ok := errors.AsType[*plugins.Error](err); ok && core.ClassOf(err) == core.Temporary {
				t.Errorf("%s: %v", u, err)
			}
		}
		if now := p.Status().PID; now != pid {
			t.Errorf("process %d has become process %d", pid, now)
		}
	})
	of, ok := k.Transports[scheme]
	if !ok {
		return
	}
	raw, listener := of(t)
	t.Cleanup(func() { _ = listener.Close() })
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := transport.Endpoint(u)
	if err != nil {
		t.Fatal(err)
	}
	c := &carrier{transport, endpoint, listener}
	t.Run("its connections keep the rules of package net", func(t *testing.T) {
		nettest.TestConn(t, func() (near, far net.Conn, stop func(), err error) {
			near, far, err = c.connect(t.Context())
			return near, far, func() { closeBoth(near, far) }, err
		})
	})
	t.Run("what is written before Close arrives, and then the end", c.lastWords)
	t.Run("what the server says before it closes arrives, and then the end", c.farewell)
	t.Run("many connections at a time", c.many)
	t.Run("nobody has to wait for Dial", c.leave)
}

// carrier opens connections whose other ends come out of a listener.
type carrier struct {
	transport core.Transport
	endpoint  core.Endpoint
	listener  net.Listener
}

// connect opens a connection and accepts it.
func (c *carrier) connect(ctx context.Context) (near, far net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if near, err = c.transport.Dial(ctx, c.endpoint); err != nil {
		return nil, nil, err
	}
	if l, ok := c.listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(time.Now().Add(patience)) // one that cannot blocks for ever
	}
	if far, err = c.listener.Accept(); err != nil {
		_ = near.Close()
		return nil, nil, fmt.Errorf("nothing comes out at the other end: %w", err)
	}
	return near, far, nil
}

func closeBoth(near, far net.Conn) {
	_ = near.Close()
	_ = far.Close()
}

// pair is connect for a test.
func (c *carrier) pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	near, far, err := c.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBoth(near, far) })
	until := time.Now().Add(patience)
	_, _ = near.SetDeadline(until), far.SetDeadline(until)
	return near, far
}

const words = "250 2.0.0 Ok: queued as 4XyZ\r\n"

func (c *carrier) lastWords(t *testing.T) {
	near, far := c.pair(t)
	if _, err := io.WriteString(near, words); err != nil {
		t.Error(err)
	}
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(far); string(got) != words || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func (c *carrier) farewell(t *testing.T) {
	near, far := c.pair(t)
	if _, err := io.WriteString(far, words); err != nil {
		t.Error(err)
	}
	if err := far.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(near); string(got) != words || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// many has connections echo, each its own octets.
func (c *carrier) many(t *testing.T) {
	var all sync.WaitGroup
	for n := range many {
		near, far := c.pair(t)
		line := fmt.Sprintf("%d %s", n, words)
		all.Go(func() {
			got := make([]byte, len(line))
			if _, err := io.ReadFull(far, got); err != nil {
				t.Error(err)
			}
			if _, err := far.Write(got); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			got := make([]byte, len(line))
			if _, err := io.WriteString(near, line); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(near, got); string(got) != line || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	all.Wait()
}

// leave gives up before anything is open.
func (c *carrier) leave(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	conn, err := c.transport.Dial(ctx, c.endpoint)
	if conn != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", conn, err)
	}
}

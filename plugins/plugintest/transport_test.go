package plugintest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/plugintest"
)

// tunnel is a transport whose connections have their other ends in a channel.
type tunnel struct {
	dial func(ctx context.Context, e core.Endpoint) (net.Conn, error)
}

func (tunnel) Scheme() string { return "corp+tunnel" }

func (tunnel) Endpoint(u *url.URL) (core.Endpoint, error) {
	if u.Hostname() == "" {
		return core.Endpoint{}, errors.New("there is no host in the URL")
	}
	return core.Endpoint{Network: "tunnel", Address: u.Host, ServerName: u.Hostname(), Protocol: core.LMTP, Security: core.Protected, Local: true}, nil
}

func (t tunnel) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) { return t.dial(ctx, e) }

// All that package net promises of a connection, through the wire protocol.
func TestTransport_connection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, ends := range map[string]func() (near, far net.Conn, err error){
		"over TCP": func() (near, far net.Conn, err error) {
			if near, err = net.Dial("tcp", listener.Addr().String()); err == nil {
				far, err = listener.Accept()
			}
			return near, far, err
		},
		"without any buffer": func() (near, far net.Conn, err error) {
			near, far = net.Pipe()
			return near, far, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			others := make(chan net.Conn, 1)
			transport := plugintest.Transport(t, tunnel{func(context.Context, core.Endpoint) (net.Conn, error) {
				near, far, err := ends()
				others <- far
				return near, err
			}})
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				c1, err = transport.Dial(t.Context(), core.Endpoint{URL: "corp+tunnel://mail.example"})
				if err != nil {
					return nil, nil, nil, err
				}
				c2 = <-others
				return c1, c2, func() {
					_ = c1.Close()
					_ = c2.Close()
				}, nil
			})
		})
	}
}

// What is written before Close arrives, and then the end.
func TestTransport_close(t *testing.T) {
	near, far := net.Pipe()
	transport := plugintest.Transport(t, tunnel{func(context.Context, core.Endpoint) (net.Conn, error) { return near, nil }})
	conn, err := transport.Dial(t.Context(), core.Endpoint{URL: "corp+tunnel://mail.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("QUIT\r\n")); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(far); string(got) != "QUIT\r\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

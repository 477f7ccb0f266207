package smtptest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/postrider/postrider/core"
)

// The names of the two sides. They are the same for both kinds of server.
const (
	clientName = "client.example"
	serverName = "server.example"
)

// listen opens a socket on this machine, whichever version of IP it has.
func listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		var err6 error
		if l, err6 = net.Listen("tcp6", "[::1]:0"); err6 != nil {
			return nil, errors.Join(err, err6)
		}
	}
	return l, nil
}

// listener numbers its connections and can close them all.
type listener struct {
	net.Listener

	mu     sync.Mutex
	conns  map[*serverConn]struct{}
	number int
	closed bool
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	l.number++
	c := &serverConn{Conn: conn, listener: l, number: l.number}
	l.conns[c] = struct{}{}
	return c, nil
}

func (l *listener) closeAll() {
	_ = l.Listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.conns {
		_ = c.Conn.Close()
	}
}

// serverConn is a server's end of a connection.
type serverConn struct {
	net.Conn
	listener *listener
	number   int
	last     atomic.Bool // nothing more is read
}

// Read reads nothing more once the server has said goodbye.
func (c *serverConn) Read(p []byte) (int, error) {
	if c.last.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

func (c *serverConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// serverTransport leads to one server, whatever host the URL names.
type serverTransport struct{ s *Server }

func (t serverTransport) Scheme() string { return t.s.options.scheme() }

func (t serverTransport) Endpoint(u *url.URL) (core.Endpoint, error) {
	o := &t.s.options
	e := core.Endpoint{
		Network: "tcp", Address: u.Host, ServerName: u.Hostname(),
		Protocol: o.Protocol, Local: !o.Remote,
	}
	if e.ServerName == serverName {
		e.Address = t.s.listener.Addr().String()
	}
	if o.ImplicitTLS {
		e.Security = core.ImplicitTLS
	}
	return e, nil
}

func (serverTransport) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, e.Network, e.Address)
}

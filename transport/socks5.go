package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"golang.org/x/net/proxy"
)

// socks5 has a SOCKS proxy connect to the address (RFC 1928). It reads no octet
// beyond the proxy's reply.
func (r *proxyRoute) socks5(conn net.Conn, address string) error {
	var auth *proxy.Auth
	if r.user != "" {
		auth = &proxy.Auth{User: r.user, Password: r.password}
	}
	dialer, err := proxy.SOCKS5("tcp", r.address, auth, dialled{conn})
	if err != nil {
		return err
	}
	// Without a context, since the caller interrupts it by the connection's
	// deadline: with one, it would set deadlines of its own.
	if _, err = dialer.Dial("tcp", address); err == nil {
		return nil
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && strings.HasPrefix(op.Op, "socks") {
		err = op.Err // its addresses are in the caller's error
	}
	switch text := err.Error(); {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &refusal{"it closed the connection", "check that what listens there is a SOCKS 5 proxy, and that it lets this machine in"}
	case strings.HasPrefix(text, "unexpected protocol version"):
		return &refusal{"what it answers is not SOCKS 5", "check the proxy's URL: it may be one for http"}
	case strings.Contains(text, "authentication"):
		return &refusal{text, r.credentialsHint()}
	case strings.HasPrefix(text, "unknown error "): // of the proxy, known or not
		return &refusal{strings.TrimPrefix(text, "unknown error "), ""}
	}
	return err
}

// dialled is a dialer whose connection is there already.
type dialled struct{ conn net.Conn }

func (d dialled) Dial(string, string) (net.Conn, error) { return d.conn, nil }

func (d dialled) DialContext(context.Context, string, string) (net.Conn, error) { return d.conn, nil }

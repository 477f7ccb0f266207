// Package transport opens the byte streams that sessions run on, one transport
// for each URL scheme.
//
//	smtp://host[:25]      SMTP over TCP, with STARTTLS if the server offers it
//	smtps://host[:465]    SMTP over TCP, with TLS from the first octet (RFC 8314)
//	lmtp://host[:24]      LMTP over TCP (RFC 2033)
//	smtp+unix:///path     SMTP over a Unix socket
//	lmtp+unix:///path     LMTP over a Unix socket
//
// A URL holds what stands here and nothing else: credentials go into
// core.Config.Auth, TLS settings into core.Config.TLS. TLS itself is done by the
// session, the same way for every transport.
package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/postrider/postrider/core"
)

// Standard returns a new list of the transports of this package, with their
// zero configuration.
func Standard() []core.Transport {
	return []core.Transport{SMTP(TCP{}), SMTPS(TCP{}), LMTP(TCP{}), SMTPUnix(), LMTPUnix()}
}

// TCP says how TCP connections are opened. The zero value is ready to use.
type TCP struct {
	// Dialer opens the connections; nil means a zero [net.Dialer], which tries
	// all addresses of a host and prefers the one that answers first (RFC
	// 8305). Its Timeout adds to core.Timeouts.Dial, which holds anyway.
	Dialer *net.Dialer
}

// SMTP returns the transport for smtp URLs: TCP, port 25 unless the URL names
// another one, in clear text until STARTTLS.
func SMTP(config TCP) core.Transport {
	return &tcp{TCP: config, scheme: "smtp", port: 25, security: core.PlainText}
}

// SMTPS returns the transport for smtps URLs: TCP, port 465 unless the URL names
// another one, TLS from the first octet.
func SMTPS(config TCP) core.Transport {
	return &tcp{TCP: config, scheme: "smtps", port: 465, security: core.ImplicitTLS}
}

// LMTP returns the transport for lmtp URLs: TCP, port 24 unless the URL names
// another one, in clear text until STARTTLS.
func LMTP(config TCP) core.Transport {
	return &tcp{TCP: config, scheme: "lmtp", port: 24, protocol: core.LMTP, security: core.PlainText}
}

type tcp struct {
	TCP
	scheme   string
	port     int
	protocol core.Protocol
	security core.Security
}

func (t *tcp) Scheme() string { return t.scheme }

// Endpoint reads scheme://host[:port].
func (t *tcp) Endpoint(u *url.URL) (core.Endpoint, error) {
	host, port, err := hostPort(u, t.port)
	if err != nil {
		return core.Endpoint{}, err
	}
	return core.Endpoint{
		Network:    "tcp",
		Address:    net.JoinHostPort(host, strconv.Itoa(port)),
		ServerName: serverName(host),
		Protocol:   t.protocol,
		Security:   t.security,
		Local:      isLoopback(host),
	}, nil
}

// Dial opens a TCP connection.
func (t *tcp) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	dialer := t.Dialer
	if dialer == nil {
		dialer = &net.Dialer{}
	}
	conn, err := dialer.DialContext(ctx, e.Network, e.Address)
	if err != nil {
		return nil, err
	}
	if err := checkLocal(e, conn.RemoteAddr()); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// checkLocal refuses an endpoint that is taken to be on this machine and is not:
// TLS is not required of a local one.
func checkLocal(e core.Endpoint, remote net.Addr) error {
	if !e.Local {
		return nil
	}
	if addr, ok := remote.(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s is taken to be this machine, but leads to %s: name the host instead", e.Address, remote)
}

// hostPort reads the authority of a URL that has nothing else.
func hostPort(u *url.URL, defaultPort int) (host string, port int, err error) {
	switch {
	case u.Opaque != "":
		return "", 0, fmt.Errorf("write it as %s://host:port", u.Scheme)
	case u.Hostname() == "":
		return "", 0, fmt.Errorf("it names no host: write it as %s://host:port", u.Scheme)
	case strings.Contains(u.Hostname(), ":") && u.Host[0] != '[':
		return "", 0, fmt.Errorf("an IPv6 address stands in brackets: write it as %s://[::1]:port", u.Scheme)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", 0, fmt.Errorf("it has more than a host and a port: write it as %s://host:port", u.Scheme)
	case u.Port() == "":
		return u.Hostname(), defaultPort, nil
	}
	port, err = strconv.Atoi(u.Port())
	if err != nil || port < 1 || port > 65535 {
		return "", 0, errors.New("its port is not a number from 1 to 65535")
	}
	return u.Hostname(), port, nil
}

// serverName is the host as certificates have it.
func serverName(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.WithZone("").String()
	}
	return strings.TrimSuffix(host, ".")
}

// isLoopback reports whether a host cannot be anything but this machine (RFC
// 6761 §6.3 for the name).
func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

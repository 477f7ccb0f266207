package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/postrider/postrider/core"
)

// TCP says how TCP connections are opened. The zero value is ready to use.
//
// All addresses of a host are tried (RFC 8305): in the resolver's order, IPv6 and
// IPv4 in turn, each 250 ms after the one before it or as soon as that has
// failed; the first that answers is used. Dialer.FallbackDelay sets another
// delay; a negative one has each address wait until the one before it has
// failed. What it says that cannot work is an error when the client is made.
type TCP struct {
	// Dialer opens the connections; nil means a zero [net.Dialer]. It is copied.
	// Its Timeout adds to core.Timeouts.Dial, which holds anyway.
	Dialer *net.Dialer
	// Resolver looks names up; nil means the Dialer's, which is
	// [net.DefaultResolver] unless it says otherwise.
	Resolver *net.Resolver
	// LocalAddr is the address that connections come from; the zero one means
	// that the system chooses. Only addresses of its version of IP are dialled.
	LocalAddr netip.Addr
	// KeepAlive is the probing of idle connections (RFC 9293 §3.8.4); the zero
	// one means the Dialer's, by default a probe every 15 seconds, of which the
	// 9th without an answer ends the connection.
	KeepAlive net.KeepAliveConfig
	// UserTimeout is for how long what was written may be unacknowledged before
	// the system gives the connection up (TCP_USER_TIMEOUT, RFC 5482), in whole
	// milliseconds; zero means as long as it tries to send it again, which may
	// be a quarter of an hour. It is there on Linux only, and an error
	// elsewhere: core.Timeouts bounds each write and each reply anyway.
	UserTimeout time.Duration
	// Proxy leads the connections through another host; the zero one means
	// that there is none, whatever the environment says.
	Proxy Proxy
}

// SMTP returns the transport for smtp URLs: TCP, port 25 unless the URL names
// another one, in clear text until STARTTLS.
func SMTP(config TCP) core.Transport {
	return newTCP(config, tcp{scheme: "smtp", port: 25, security: core.PlainText})
}

// SMTPS returns the transport for smtps URLs: TCP, port 465 unless the URL names
// another one, TLS from the first octet.
func SMTPS(config TCP) core.Transport {
	return newTCP(config, tcp{scheme: "smtps", port: 465, security: core.ImplicitTLS})
}

// LMTP returns the transport for lmtp URLs: TCP, port 24 unless the URL names
// another one, in clear text until STARTTLS.
func LMTP(config TCP) core.Transport {
	return newTCP(config, tcp{scheme: "lmtp", port: 24, protocol: core.LMTP, security: core.PlainText})
}

type tcp struct {
	scheme   string
	port     int
	protocol core.Protocol
	security core.Security

	dialer *net.Dialer
	proxy  *proxyRoute // nil without one
	err    error       // what the configuration says that cannot work
}

func newTCP(config TCP, t tcp) *tcp {
	if t.dialer, t.err = config.dialer(); t.err == nil && config.Proxy.URL != "" {
		t.proxy, t.err = config.Proxy.route()
	} else if t.err == nil {
		t.err = config.Proxy.checkUnused()
	}
	return &t
}

func (t *tcp) Scheme() string { return t.scheme }

// Endpoint reads scheme://host[:port][?options].
func (t *tcp) Endpoint(u *url.URL) (core.Endpoint, error) {
	if t.err != nil {
		return core.Endpoint{}, t.err
	}
	host, port, err := hostPort(u, t.port)
	if err != nil {
		return core.Endpoint{}, err
	}
	options, err := readOptions(u, optionServerName, optionFamily)
	if err != nil {
		return core.Endpoint{}, err
	}
	e := core.Endpoint{
		Network:    "tcp",
		Address:    net.JoinHostPort(host, strconv.Itoa(port)),
		ServerName: certificateName(host),
		Protocol:   t.protocol,
		Security:   t.security,
		Local:      isLoopback(host),
	}
	if name := options[optionServerName]; name != "" {
		rename(&e, name)
	}
	if t.proxied(e.Address) {
		// What is called localhost there is the proxy's machine.
		e.Local = false
		if err := checkProxied(host, options); err != nil {
			return core.Endpoint{}, err
		}
	}
	e.Network += options[optionFamily]
	return e, nil
}

// proxied reports whether connections to an address go through the proxy.
func (t *tcp) proxied(address string) bool { return t.proxy != nil && !t.proxy.bypassed(address) }

// Dial opens a TCP connection.
func (t *tcp) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	if t.err != nil {
		return nil, t.err
	}
	if t.proxied(e.Address) {
		if e.Local {
			return nil, fmt.Errorf("%s is taken to be this machine, but is reached through proxy %s: name the host instead", e.Address, t.proxy)
		}
		return t.proxy.dial(ctx, t.dialer, e.Address)
	}
	conn, err := dialTCP(ctx, t.dialer, e.Network, e.Address)
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

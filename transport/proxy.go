package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/postrider/postrider/core"
)

// Proxy leads connections to a server through another host. The zero value is
// none.
//
// The proxy looks the server's name up. TLS is the session's, from end to end:
// the proxy sees what it could see on the wire. A server that is called
// localhost is then not this machine but the proxy's, so TLS is required of it
// as of any other, whatever the address of the proxy.
//
// Behind a proxy the connection's own address means nothing to the server: set
// core.Config.LocalName.
//
// It has a password in it, which fmt and log/slog do not show, and encoders do.
type Proxy struct {
	// URL says what the proxy is and where; empty means that there is none.
	//
	//	socks5://[user:password@]host[:1080]   SOCKS 5 (RFC 1928, RFC 1929); also written socks5h
	//	http://[user:password@]host[:80]       HTTP CONNECT (RFC 9110 §9.3.6)
	//	https://[user:password@]host[:443]     the same, with TLS to the proxy
	//
	// Characters of user and password that mean something in a URL are
	// percent-encoded. Both go to the proxy as they are: only https hides them
	// from those on the way there.
	URL string
	// NoProxy lists what is reached without the proxy, separated by commas:
	// domain names, with what is below them or, with a dot in front, only that;
	// IP addresses; networks ("10.0.0.0/8"); each but the last with a port if
	// need be. It is what the variable NO_PROXY has.
	//
	// If it is empty everything goes through the proxy, localhost too. If not,
	// this machine is reached without the proxy, listed or not.
	NoProxy string
	// TLS is the base of the handshake with an https proxy; nil means the
	// system's authorities. TLS 1.2 is the least.
	TLS *tls.Config
}

// String returns the proxy's URL without its credentials.
func (p Proxy) String() string {
	if p.URL == "" {
		return "none"
	}
	route, err := p.route()
	if err != nil {
		return "invalid"
	}
	return route.String()
}

// GoString returns what String does: %#v is for logs as well.
func (p Proxy) GoString() string { return "transport.Proxy(" + p.String() + ")" }

// LogValue returns what String does.
func (p Proxy) LogValue() slog.Value { return slog.StringValue(p.String()) }

// checkUnused refuses settings of a proxy that is not there.
func (p Proxy) checkUnused() error {
	if p.NoProxy != "" || p.TLS != nil {
		return errors.New("TCP.Proxy has NoProxy or TLS but no URL: set it to a URL such as socks5://host:1080")
	}
	return nil
}

// proxyRoute is the way through a proxy.
type proxyRoute struct {
	scheme   string
	address  string
	user     string
	password string
	tls      *tls.Config // nil without TLS to the proxy
	direct   func(*url.URL) (*url.URL, error)
}

// errProxyURL does not repeat the URL: there are more ways to write a password
// into one than a parser recognises.
var errProxyURL = errors.New("the proxy's URL is not one that works: write it as socks5://user:password@host:port, http://… or https://…, with nothing behind the port, and percent-encode what is special in user and password")

// route checks and completes a proxy that has a URL.
func (p Proxy) route() (*proxyRoute, error) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return nil, errProxyURL
	}
	ports := map[string]int{"socks5": 1080, "socks5h": 1080, "http": 80, "https": 443}
	defaultPort, ok := ports[u.Scheme]
	if !ok || u.RawQuery != "" || u.ForceQuery {
		return nil, errProxyURL
	}
	host, port, err := hostPort(u, defaultPort)
	if err != nil {
		return nil, errProxyURL
	}
	r := &proxyRoute{scheme: u.Scheme, address: net.JoinHostPort(host, strconv.Itoa(port))}
	if u.User != nil {
		r.user = u.User.Username()
		r.password, _ = u.User.Password()
		if err := r.checkCredentials(); err != nil {
			return nil, err
		}
	}
	switch {
	case u.Scheme == "https":
		r.tls = proxyTLS(p.TLS, host)
	case p.TLS != nil:
		return nil, fmt.Errorf("TCP.Proxy.TLS is set, and proxy %s has no TLS: use an https proxy", r)
	}
	if p.NoProxy != "" {
		// The matcher tells by the proxy's URL being returned or not. Any will do.
		match := httpproxy.Config{HTTPSProxy: "http://proxy.invalid", NoProxy: p.NoProxy}
		r.direct = match.ProxyFunc()
	}
	return r, nil
}

func (r *proxyRoute) isSOCKS() bool { return strings.HasPrefix(r.scheme, "socks5") }

// checkCredentials refuses what the proxy's protocol has no room for.
func (r *proxyRoute) checkCredentials() error {
	switch {
	case r.user == "":
		return errors.New("the proxy's URL has a password without a user: write it as user:password@")
	case r.isSOCKS() && (len(r.user) > 255 || len(r.password) > 255): // RFC 1929 §2
		return errors.New("user or password in the proxy's URL has more than 255 octets, which SOCKS cannot carry")
	case !r.isSOCKS() && strings.Contains(r.user, ":"): // RFC 7617 §2
		return errors.New("the user in the proxy's URL has a colon, which HTTP's Basic scheme cannot carry")
	}
	return nil
}

// String returns the URL without credentials.
func (r *proxyRoute) String() string { return r.scheme + "://" + r.address }

// bypassed reports whether an address is reached without the proxy.
func (r *proxyRoute) bypassed(address string) bool {
	if r.direct == nil {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if isLoopback(host) {
		return true
	}
	through, err := r.direct(&url.URL{Scheme: "https", Host: net.JoinHostPort(strings.TrimSuffix(host, "."), port)})
	return err == nil && through == nil
}

// checkProxied refuses what has no meaning at the other end of a proxy.
func checkProxied(host string, options map[string]string) error {
	if options[optionFamily] != "" {
		return fmt.Errorf("the option %s does not work through a proxy, which looks the name up itself: leave it out, or write an IP address for the host", optionFamily)
	}
	if strings.Contains(host, "%") {
		return errors.New("a zone means nothing to a proxy: write the address without it")
	}
	return nil
}

// dial connects to the proxy and has it connect to the address.
func (r *proxyRoute) dial(ctx context.Context, dialer *net.Dialer, address string) (net.Conn, error) {
	raw, err := dialTCP(ctx, dialer, "tcp", r.address)
	if err != nil {
		return nil, fmt.Errorf("proxy %s cannot be reached: %w", r, err)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = raw.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	stream, err := r.open(ctx, raw, address)
	if !stop() {
		<-interrupted // it must not strike the session
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, r.explain(address, err)
	}
	return stream, nil
}

// open asks the proxy for a stream. The connection's deadline interrupts it.
func (r *proxyRoute) open(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	switch {
	case r.isSOCKS():
		return raw, r.socks5(raw, address)
	case r.tls == nil:
		return raw, r.connect(raw, address)
	}
	stream := tls.Client(raw, r.tls)
	if err := stream.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake with the proxy: %w", err)
	}
	return stream, r.connect(stream, address)
}

// proxyTLS returns the configuration for handshakes with an https proxy.
func proxyTLS(base *tls.Config, host string) *tls.Config {
	config := &tls.Config{}
	if base != nil {
		config = base.Clone()
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if config.ServerName == "" {
		config.ServerName = certificateName(host)
	}
	return config
}

// A refusal is a proxy's answer that it does not connect.
type refusal struct {
	answer string
	hint   string
}

func (r *refusal) Error() string { return r.answer }

// explain says which proxy failed. A refusal is temporary, whatever it is: it
// says nothing of the recipients, and nobody's mail is to be returned because a
// proxy was set up wrongly.
func (r *proxyRoute) explain(address string, err error) error {
	err = fmt.Errorf("proxy %s does not connect to %s: %w", r, address, err)
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		return err
	}
	return &core.Error{Stage: core.StageConnect, Class: core.Temporary, Err: fmt.Errorf("%w: %w", core.ErrDisconnected, err), Hint: refused.hint}
}

// credentialsHint is what to do when a proxy wants credentials, or others.
func (r *proxyRoute) credentialsHint() string {
	if r.user == "" {
		return "put user:password@ into the proxy's URL"
	}
	return "check user and password in the proxy's URL"
}

package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/postrider/postrider/core"
)

// SMTPUnix returns the transport for smtp+unix URLs, which hold the absolute
// path of a socket: smtp+unix:///run/smtp.sock.
func SMTPUnix() core.Transport { return &unix{scheme: "smtp+unix", protocol: core.SMTP} }

// LMTPUnix returns the transport for lmtp+unix URLs, which hold the absolute
// path of a socket: lmtp+unix:///run/dovecot/lmtp.
func LMTPUnix() core.Transport { return &unix{scheme: "lmtp+unix", protocol: core.LMTP} }

type unix struct {
	scheme   string
	protocol core.Protocol
}

func (u *unix) Scheme() string { return u.scheme }

// Endpoint reads scheme:///absolute/path[?options].
func (u *unix) Endpoint(target *url.URL) (core.Endpoint, error) {
	switch {
	case target.Host != "":
		return core.Endpoint{}, fmt.Errorf("it names a host: write it as %s:///absolute/path, with three slashes", u.scheme)
	case target.Path == "" || target.Path == "/":
		return core.Endpoint{}, fmt.Errorf("it names no socket: write it as %s:///absolute/path", u.scheme)
	case target.Fragment != "":
		return core.Endpoint{}, errors.New("it has more than a path")
	}
	options, err := readOptions(target, optionServerName)
	if err != nil {
		return core.Endpoint{}, err
	}
	e := core.Endpoint{Network: "unix", Address: target.Path, ServerName: "localhost", Protocol: u.protocol, Local: true}
	if name := options[optionServerName]; name != "" {
		rename(&e, name)
	}
	return e, nil
}

// Dial opens the socket.
func (u *unix) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, e.Network, e.Address)
}

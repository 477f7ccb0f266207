package core

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sort"
	"strings"
)

// Transport opens the byte stream for the URLs of one scheme. It is immutable
// and safe for concurrent use.
//
// It does no TLS and speaks no SMTP: the session does both, the same way for
// every transport.
type Transport interface {
	// Scheme returns the URL scheme, in lower case: "smtp", "corp+tunnel".
	Scheme() string

	// Endpoint reads a URL of this scheme. It opens nothing: it is called when
	// a client is made, so that a URL that cannot work is refused there. An error
	// that is an [*Error] keeps its class and its hint.
	Endpoint(u *url.URL) (Endpoint, error)

	// Dial opens a stream to an endpoint that Endpoint returned. It honours ctx.
	Dial(ctx context.Context, e Endpoint) (net.Conn, error)
}

// Security says how the octets of a stream are protected.
type Security uint8

const (
	// PlainText: by nothing, until STARTTLS.
	PlainText Security = iota
	// ImplicitTLS: by TLS from the first octet (RFC 8314 §3.3). The session
	// does the handshake.
	ImplicitTLS
	// Protected: by the transport itself, a tunnel for example, as well as TLS
	// would. TLS is not required then, and secrets may be shown.
	Protected
)

// Endpoint is a server as a transport sees it.
type Endpoint struct {
	// URL is the endpoint's URL as configured.
	URL string
	// Network and Address are what Dial opens, in the form of [net.Dial]:
	// "tcp" and "mail.example.com:587".
	Network, Address string
	// ServerName is the name that the server's certificate is verified against:
	// the URL's host, or what the URL or the transport's configuration says in
	// its place.
	ServerName string
	// Protocol is spoken on the stream.
	Protocol Protocol
	// Security says what protects the stream.
	Security Security
	// Local says that the stream does not leave this machine. TLS is not
	// required then.
	Local bool
}

// shown returns the URL for an error: without options, whose values may be
// secret.
func (e *Endpoint) shown() string {
	url, _, _ := strings.Cut(e.URL, "?")
	return url
}

// transportSet is the registry of a client.
type transportSet map[string]Transport

func newTransportSet(list []Transport) (_ transportSet, err error) {
	defer contain("a transport", &err)
	if len(list) == 0 {
		return nil, errors.New("Config.Transports is empty: use transport.Standard()")
	}
	set := make(transportSet, len(list))
	for n, t := range list {
		if t == nil {
			return nil, fmt.Errorf("transport %d is nil", n)
		}
		scheme := t.Scheme()
		if scheme == "" || scheme != strings.ToLower(scheme) {
			return nil, fmt.Errorf("transport %T has the scheme %q: use a URL scheme in lower case", t, scheme)
		}
		if other, ok := set[scheme]; ok {
			return nil, fmt.Errorf("two transports for the scheme %q: %T and %T", scheme, other, t)
		}
		set[scheme] = t
	}
	return set, nil
}

// resolve finds the transport for an endpoint's URL and has it read the URL.
func (set transportSet) resolve(field, rawURL string) (_ Transport, _ Endpoint, err error) {
	defer contain("a transport", &err)
	if rawURL == "" {
		return nil, Endpoint{}, fmt.Errorf(`%s is empty: set it to a URL such as "smtps://mail.example.com"`, field)
	}
	shown, _, _ := strings.Cut(rawURL, "?") // the value of an option may be secret
	u, err := url.Parse(rawURL)
	if err != nil {
		// url.Error repeats the URL, and a URL may hold a password.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, Endpoint{}, fmt.Errorf("endpoint is not a URL: %w; write it as smtp://host:port", err)
	}
	if u.User != nil {
		return nil, Endpoint{}, errors.New("endpoint URL holds credentials: put them into Config.Auth, where they stay out of logs")
	}
	t, ok := set[u.Scheme]
	if !ok {
		var schemes []string
		for s := range set {
			schemes = append(schemes, s)
		}
		sort.Strings(schemes)
		return nil, Endpoint{}, fmt.Errorf("no transport for the scheme %q of %q: there are %s", u.Scheme, shown, strings.Join(schemes, ", "))
	}
	e, err := t.Endpoint(u)
	if err != nil {
		return nil, Endpoint{}, partError(fmt.Sprintf("endpoint %q", shown), err)
	}
	e.URL = rawURL
	return t, e, nil
}

package transport

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/postrider/postrider/core"
)

// The options of URLs.
const (
	optionServerName = "servername"
	optionFamily     = "family"
)

// hostPort reads the authority of a URL that has no path. A name that is not
// ASCII is returned in A-labels (RFC 5891 §5), which is how it is looked up.
func hostPort(u *url.URL, defaultPort int) (host string, port int, err error) {
	host = u.Hostname()
	switch {
	case u.Opaque != "":
		return "", 0, fmt.Errorf("write it as %s://host:port", u.Scheme)
	case host == "":
		return "", 0, fmt.Errorf("it names no host: write it as %s://host:port", u.Scheme)
	case strings.Contains(host, ":") && u.Host[0] != '[':
		return "", 0, fmt.Errorf("an IPv6 address stands in brackets: write it as %s://[::1]:port", u.Scheme)
	case strings.Trim(u.Path, "/") != "" || u.Fragment != "":
		return "", 0, fmt.Errorf("it has more than a host and a port: write it as %s://host:port", u.Scheme)
	}
	if host, err = asciiName(host); err != nil {
		return "", 0, fmt.Errorf("its host is no domain name: %w", err)
	}
	if u.Port() == "" {
		return host, defaultPort, nil
	}
	port, err = strconv.Atoi(u.Port())
	if err != nil || port < 1 || port > 65535 {
		return "", 0, errors.New("its port is not a number from 1 to 65535")
	}
	return host, port, nil
}

// asciiName returns a name in the form in which it is looked up.
func asciiName(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", errors.New("it is not UTF-8")
	}
	if strings.ContainsFunc(name, func(c rune) bool { return c >= utf8.RuneSelf }) {
		return idna.Lookup.ToASCII(name)
	}
	return name, nil
}

// readOptions reads the query of a URL, in which an option stands at most once.
func readOptions(u *url.URL, known ...string) (map[string]string, error) {
	options := make(map[string]string)
	if u.RawQuery == "" {
		return options, nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		// The error repeats what it could not read.
		return nil, fmt.Errorf("its options cannot be read: write them as ?%s=mail.example.com", optionServerName)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("the option %q does not exist: there are %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			return nil, fmt.Errorf("the option %q stands there %d times: write it once", name, len(values))
		}
		options[name] = values[0]
	}
	if name, ok := options[optionServerName]; ok {
		if options[optionServerName], err = readServerName(name); err != nil {
			return nil, err
		}
	}
	if family, ok := options[optionFamily]; ok && family != "4" && family != "6" {
		return nil, fmt.Errorf("the option %s is %q: use 4 or 6, the version of IP", optionFamily, family)
	}
	return options, nil
}

// readServerName reads a name as a certificate has it.
func readServerName(name string) (string, error) {
	bad := fmt.Errorf("the option %s is %q, which no certificate can be for: write a domain name or an IP address, without a port", optionServerName, name)
	if addr, err := netip.ParseAddr(name); err == nil {
		if addr.Zone() != "" {
			return "", bad
		}
		return addr.String(), nil
	}
	ascii, err := idna.Lookup.ToASCII(certificateName(name))
	if err != nil || len(ascii) > 253 || !utf8.ValidString(name) {
		return "", bad
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return "", bad
		}
	}
	return ascii, nil
}

// rename makes another name than the URL's host the server's. Whoever says that
// the server is not called what this machine is called leads the stream through
// something that leaves it, an SSH tunnel say: TLS is then required.
func rename(e *core.Endpoint, name string) {
	e.ServerName = name
	e.Local = e.Local && isLoopback(name)
}

// certificateName is the host as certificates have it.
func certificateName(host string) string {
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

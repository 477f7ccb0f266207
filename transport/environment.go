package transport

import (
	"fmt"
	"os"
	"strings"
)

// ProxyFromEnvironment returns the proxy that one of these environment variables
// holds: the first that is set, in lower or upper case, lower case first. Without
// names it is ALL_PROXY. If none is set, it returns no proxy and no error.
//
// HTTPS_PROXY is for the web, and a web proxy rarely lets mail through: it is not
// looked at unless it is named. The same goes for everything in the environment:
// nothing in this package looks there but this function.
//
// The value is that of [Proxy.URL], or host:port for an http proxy. NoProxy is
// taken from NO_PROXY; if that is empty, localhost stands there, so that this
// machine is reached directly, as programs that use the environment do. In a CGI
// program, a variable HTTP_… in upper case is refused: the client may have set
// it.
func ProxyFromEnvironment(names ...string) (Proxy, error) {
	if len(names) == 0 {
		names = []string{"ALL_PROXY"}
	}
	for _, name := range names {
		name, value := lookup(name)
		if value == "" {
			continue
		}
		if strings.HasPrefix(name, "HTTP_") && os.Getenv("REQUEST_METHOD") != "" {
			return Proxy{}, fmt.Errorf("%s may come from the client of this CGI program: use another variable", name)
		}
		if !strings.Contains(value, "://") {
			value = "http://" + value
		}
		p := Proxy{URL: value}
		if _, p.NoProxy = lookup("NO_PROXY"); p.NoProxy == "" {
			p.NoProxy = "localhost"
		}
		if _, err := p.route(); err != nil {
			return Proxy{}, fmt.Errorf("environment variable %s: %w", name, err)
		}
		return p, nil
	}
	return Proxy{}, nil
}

// lookup returns a variable, in lower or else in upper case, under the name that
// it was found by.
func lookup(name string) (found, value string) {
	for _, found := range []string{strings.ToLower(name), strings.ToUpper(name)} {
		if value := os.Getenv(found); value != "" {
			return found, value
		}
	}
	return name, ""
}

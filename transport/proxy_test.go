package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

const (
	proxyUser     = "mailer"
	proxyPassword = "s3cret:/@x"
)

// withCredentials puts the test's credentials into a proxy's URL.
func withCredentials(scheme, address string) string {
	u := url.URL{Scheme: scheme, Host: address, User: url.UserPassword(proxyUser, proxyPassword)}
	return u.String()
}

// keepsSecret reports a text that shows credentials in any form.
func keepsSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{proxyPassword, "s3cret", url.QueryEscape(proxyPassword), "bWFpbGVyOnMzY3JldDovQHg="} {
		if strings.Contains(text, secret) {
			t.Errorf("the password is in %q", text)
		}
	}
}

// splice copies between two connections until both have ended.
func splice(a net.Conn, fromA io.Reader, b net.Conn) {
	var all sync.WaitGroup
	all.Go(func() {
		_, _ = io.Copy(b, fromA)
		_ = b.Close()
	})
	_, _ = io.Copy(a, b)
	_ = a.Close()
	all.Wait()
}

// A way is a proxy that works, for whatever name it is asked for.
type way struct {
	asked chan string // the addresses that it was asked for
	to    string      // where it connects to instead
}

func newWay(to string) *way { return &way{make(chan string, 10), to} }

// http serves CONNECT.
func (w *way) http(conn net.Conn) {
	in := bufio.NewReader(conn)
	request, authorized := "", false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		if request == "" {
			request = line
		}
		authorized = authorized || line == "Proxy-Authorization: Basic bWFpbGVyOnMzY3JldDovQHg="
		if line == "" {
			break
		}
	}
	if !authorized {
		_, _ = io.WriteString(conn, "HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")
		return
	}
	w.asked <- request
	server, err := net.Dial("tcp", w.to)
	if err != nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n")
	splice(conn, in, server)
}

// socks serves SOCKS 5 with user and password (RFC 1928, RFC 1929).
func (w *way) socks(conn net.Conn) {
	take := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(conn, b)
		return b
	}
	take(int(take(2)[1])) // the methods
	_, _ = conn.Write([]byte{5, 2})
	user := take(int(take(2)[1]))
	password := take(int(take(1)[0]))
	if string(user) != proxyUser || string(password) != proxyPassword {
		_, _ = conn.Write([]byte{1, 1})
		return
	}
	_, _ = conn.Write([]byte{1, 0})
	request := take(4)
	if request[1] != 1 || request[3] != 3 { // CONNECT, to a name
		_, _ = conn.Write([]byte{5, 8, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	name := take(int(take(1)[0]))
	port := take(2)
	w.asked <- fmt.Sprintf("%s:%d", name, int(port[0])<<8|int(port[1]))
	server, err := net.Dial("tcp", w.to)
	if err != nil {
		_, _ = conn.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	_, _ = conn.Write([]byte{5, 0, 0, 3, 4, 'n', 'a', 'm', 'e', 0, 1})
	splice(conn, conn, server)
}

// ways are proxies of every scheme in front of a server.
func ways(t *testing.T, to string) map[string]struct {
	proxy transport.Proxy
	way   *way
} {
	http, https, socks := newWay(to), newWay(to), newWay(to)
	certificate, trust := smtptest.NewCertificate(t, "127.0.0.1")
	list := map[string]struct {
		proxy transport.Proxy
		way   *way
	}{
		"http": {transport.Proxy{URL: withCredentials("http", serve(t, http.http))}, http},
		"https": {transport.Proxy{TLS: trust, URL: withCredentials("https", serve(t, func(conn net.Conn) {
			https.http(tls.Server(conn, certificate))
		}))}, https},
		"socks5": {transport.Proxy{URL: withCredentials("socks5", serve(t, socks.socks))}, socks},
	}
	list["socks5h"] = list["socks5"]
	u := list["socks5"]
	u.proxy.URL = strings.Replace(u.proxy.URL, "socks5:", "socks5h:", 1)
	list["socks5h"] = u
	return list
}

// The proxy is asked for the name, TLS is between the two ends, and the session
// has the socket itself.
func TestProxy(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, Remote: true})
	for name, w := range ways(t, strings.TrimPrefix(server.URL(), "smtp://")) {
		t.Run(name, func(t *testing.T) {
			c := client(t, "smtp://server.example:587", transport.TCP{Proxy: w.proxy}, func(c *core.Config) { c.TLS = server.Config().TLS })
			receipt, err := send(t, c)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimPrefix(<-w.way.asked, "CONNECT "); !strings.HasPrefix(got, "server.example:587") {
				t.Errorf("the proxy was asked for %q", got)
			}
			if p := receipt.Peer; p.TLS == nil || p.TLSError != nil || p.Local {
				t.Errorf("peer %+v", p)
			}
			conn, err := dial(t.Context(), transport.TCP{Proxy: w.proxy}, "smtp://server.example")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			<-w.way.asked
			if _, ok := conn.(*net.TCPConn); ok != (name != "https") {
				t.Errorf("the connection is a %T", conn)
			}
		})
	}
}

// localhost behind a proxy is the proxy's machine.
func TestProxy_localhostIsNotThisMachine(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	for name, w := range ways(t, strings.TrimPrefix(server.URL(), "smtp://")) {
		t.Run(name, func(t *testing.T) {
			config := transport.TCP{Proxy: w.proxy}
			_, err := send(t, client(t, "smtp://localhost:25", config))
			if !errors.Is(err, core.ErrTLSRequired) {
				t.Errorf("error %v, want one that requires TLS", err)
			}
			direct, _ := transport.SMTP(transport.TCP{}).Endpoint(&url.URL{Scheme: "smtp", Host: "localhost"})
			if conn, err := transport.SMTP(config).Dial(t.Context(), direct); err == nil || !strings.Contains(err.Error(), "taken to be this machine") {
				t.Errorf("an endpoint that claims it is dialled: %v, %v", conn, err)
			}
			config.Proxy.NoProxy = "example.com"
			direct, err = transport.SMTP(config).Endpoint(&url.URL{Scheme: "smtp", Host: "localhost"})
			if err != nil || !direct.Local {
				t.Errorf("with NoProxy: %+v, %v", direct, err)
			}
		})
	}
	if n := len(server.Messages()); n != 0 {
		t.Errorf("%d messages have arrived", n)
	}
}

func TestProxy_NoProxy(t *testing.T) {
	const list = "example.com, .example.net,192.0.2.0/24,mail.example.org:587"
	for host, direct := range map[string]bool{
		"example.com": true, "mail.example.com": true, "mail.example.com.": true, "notexample.com": false,
		"example.net": false, "mail.example.net": true,
		"192.0.2.9": true, "192.0.3.1": false,
		"mail.example.org:587": true, "mail.example.org": false,
		"127.0.0.1": true, "[::1]": true, "localhost": true, "LocalHost.": true, "mail.localhost": true,
	} {
		t.Run(host, func(t *testing.T) {
			through := false
			config := transport.TCP{Proxy: transport.Proxy{URL: "http://127.0.0.1:3128", NoProxy: list}, Resolver: resolver(t, "known.example.")}
			config.Dialer = &net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
				through = address == "127.0.0.1:3128"
				return errors.New("nothing is to be connected")
			}}
			conn, err := dial(t.Context(), config, "smtp://"+host)
			if err == nil {
				_ = conn.Close()
				t.Error("it is connected")
			}
			if through == direct {
				t.Errorf("through the proxy: %v, %v", through, err)
			}
		})
	}
}

func TestProxy_refusesWhatCannotWork(t *testing.T) {
	const secret = "s3cret"
	for rule, tt := range map[string]struct {
		proxy    transport.Proxy
		endpoint string
		says     string
	}{
		"no scheme":                         {transport.Proxy{URL: "user:s3cret@proxy:1080"}, "", "write it as"},
		"a scheme that there is not":        {transport.Proxy{URL: "s3cret://proxy"}, "", "write it as"},
		"SOCKS 4":                           {transport.Proxy{URL: "socks4://user:s3cret@proxy"}, "", "write it as"},
		"a slash in the password":           {transport.Proxy{URL: "http://user:s3cret/x@proxy"}, "", "percent-encode"},
		"a percent sign in the password":    {transport.Proxy{URL: "http://user:s3cret%zz@proxy"}, "", "percent-encode"},
		"no host":                           {transport.Proxy{URL: "http://user:s3cret@"}, "", "write it as"},
		"a port that is none":               {transport.Proxy{URL: "http://user:s3cret@proxy:0"}, "", "write it as"},
		"a path":                            {transport.Proxy{URL: "http://user:s3cret@proxy/x"}, "", "nothing behind the port"},
		"a query":                           {transport.Proxy{URL: "http://proxy?password=s3cret"}, "", "nothing behind the port"},
		"a fragment":                        {transport.Proxy{URL: "http://proxy#s3cret"}, "", "nothing behind the port"},
		"a password without a user":         {transport.Proxy{URL: "http://:s3cret@proxy"}, "", "without a user"},
		"a colon in the user":               {transport.Proxy{URL: "http://us%3Aer:s3cret@proxy"}, "", "colon"},
		"a user that SOCKS cannot carry":    {transport.Proxy{URL: "socks5://" + strings.Repeat("s3cret", 50) + "@proxy"}, "", "255"},
		"TLS for a proxy that has none":     {transport.Proxy{URL: "http://user:s3cret@proxy", TLS: &tls.Config{}}, "", "use an https proxy"},
		"a family":                          {transport.Proxy{URL: "socks5://proxy"}, "smtp://mail.example.com?family=4", "looks the name up itself"},
		"a zone":                            {transport.Proxy{URL: "socks5://proxy"}, "smtp://[fe80::1%25eth0]", "zone"},
		"what the transport would wait for": {transport.Proxy{URL: "socks5://proxy"}, "smtp://mail.example.com?x=1", "does not exist"},
	} {
		t.Run(rule, func(t *testing.T) {
			endpoint := tt.endpoint
			if endpoint == "" {
				endpoint = "smtp://mail.example.com"
			}
			_, err := core.NewClient(core.Config{Endpoint: endpoint, Transports: transport.With(transport.TCP{Proxy: tt.proxy})})
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
			if tt.endpoint == "" && tt.says != "use an https proxy" && tt.proxy.String() != "invalid" {
				t.Errorf("it prints as %q", tt.proxy)
			}
		})
	}
}

// A configuration is logged sooner or later.
func TestProxy_printsWithoutCredentials(t *testing.T) {
	config := transport.TCP{Proxy: transport.Proxy{URL: withCredentials("socks5", "proxy.example")}}
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("proxy", "proxy", config.Proxy)
	for _, s := range []string{fmt.Sprint(config.Proxy), fmt.Sprintf("%v %+v %#v", config, config, config), fmt.Sprintf("%#v", config.Proxy), text.String()} {
		keepsSecret(t, s)
		if !strings.Contains(s, "socks5://proxy.example:1080") {
			t.Errorf("printed as %q", s)
		}
	}
	if got := fmt.Sprint(transport.Proxy{}); got != "none" {
		t.Errorf("no proxy is printed as %q", got)
	}
}

// A context ends whatever a proxy does, or does not do.
func TestProxy_endsWithItsContext(t *testing.T) {
	for scheme, says := range map[string][]string{
		"http":   {"", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\nX: y\r\n"},
		"https":  {"", "\x16\x03\x01"},
		"socks5": {"", "\x05", "\x05\x00", "\x05\x02", "\x05\x02\x01\x00\x05\x00\x00\x01"},
	} {
		for _, said := range says {
			t.Run(fmt.Sprintf("%s after %q", scheme, said), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				address := serve(t, func(conn net.Conn) {
					_, _ = conn.Read(make([]byte, 1))
					_, _ = io.WriteString(conn, said)
					cancel()
					_, _ = io.Copy(io.Discard, conn)
				})
				conn, err := dial(ctx, transport.TCP{Proxy: transport.Proxy{URL: withCredentials(scheme, address)}}, "smtp://mail.example.com")
				if conn != nil || !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, %v", conn, err)
				}
				if _, ok := errors.AsType[*core.Error](err); ok {
					t.Error("it hides the context's error from the session")
				}
				keepsSecret(t, fmt.Sprint(err))
			})
		}
	}
}

// The same under TLS to the proxy.
func TestProxy_endsWithItsContextUnderTLS(t *testing.T) {
	certificate, trust := smtptest.NewCertificate(t, "127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	address := serve(t, func(conn net.Conn) {
		stream := tls.Server(conn, certificate)
		_, _ = stream.Read(make([]byte, 1)) // of the request
		cancel()
		_, _ = io.Copy(io.Discard, stream)
	})
	conn, err := dial(ctx, transport.TCP{Proxy: transport.Proxy{URL: withCredentials("https", address), TLS: trust}}, "smtp://mail.example.com")
	if conn != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", conn, err)
	}
}

// The session's time limit for the dial holds for all that a proxy does.
func TestProxy_silenceIsBounded(t *testing.T) {
	for _, scheme := range []string{"http", "https", "socks5"} {
		address := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		c := client(t, "smtp://mail.example.com", transport.TCP{Proxy: transport.Proxy{URL: withCredentials(scheme, address)}},
			func(c *core.Config) { c.Timeouts.Dial = 20 * time.Millisecond })
		_, err := send(t, c)
		if !errors.Is(err, os.ErrDeadlineExceeded) || core.ClassOf(err) != core.Temporary {
			t.Errorf("%s: error %v", scheme, err)
		}
	}
}

func TestProxy_thatIsNotThere(t *testing.T) {
	l := listen(t)
	_ = l.Close()
	for _, scheme := range []string{"http", "https", "socks5"} {
		_, err := send(t, client(t, "smtp://mail.example.com", transport.TCP{Proxy: transport.Proxy{URL: withCredentials(scheme, l.Addr().String())}}))
		if err == nil || core.ClassOf(err) != core.Temporary || !strings.Contains(err.Error(), "proxy "+scheme+"://"+l.Addr().String()+" cannot be reached") {
			t.Errorf("error %v", err)
		}
		keepsSecret(t, fmt.Sprint(err))
	}
}

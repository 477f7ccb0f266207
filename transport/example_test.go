package transport_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/url"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/transport"
)

// The standard transports are a list to choose from and add to.
func ExampleStandard() {
	client, err := core.NewClient(core.Config{
		Endpoint:   "smtps://mail.example.com",
		Transports: append(transport.Standard(), tunnel{}),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = core.NewClient(core.Config{Endpoint: "pop://mail.example.com", Transports: append(transport.Standard(), tunnel{})})
	fmt.Println(err)

	// Output:
	// config: no transport for the scheme "pop" of "pop://mail.example.com": there are corp+tunnel, lmtp, lmtp+unix, smtp, smtp+unix, smtps
}

// A proxy is asked for what its list does not except.
func ExampleWith() {
	proxy := transport.Proxy{URL: "socks5://mailer:secret@gateway.example.com", NoProxy: "corp.example"}
	client, err := core.NewClient(core.Config{
		Endpoint:   "smtp://mail.example.net:587",
		Transports: transport.With(transport.TCP{Proxy: proxy}),
		LocalName:  "mailer.example.com",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println("through", proxy)
	// Output: through socks5://gateway.example.com:1080
}

// The environment is looked at only by name.
func ExampleProxyFromEnvironment() {
	proxy, err := transport.ProxyFromEnvironment("SMTP_PROXY")
	if err != nil {
		log.Fatal(err)
	}
	transports := transport.With(transport.TCP{Proxy: proxy})
	fmt.Println(len(transports), "transports")
	// Output: 5 transports
}

// A transport of one's own takes a scheme, reads its URLs, and opens streams;
// TLS and SMTP are the session's.
type tunnel struct{}

func (tunnel) Scheme() string { return "corp+tunnel" }

func (tunnel) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{Network: "tcp", Address: "127.0.0.1:1080", ServerName: u.Hostname(), Security: core.Protected}, nil
}

func (tunnel) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, e.Network, e.Address)
}

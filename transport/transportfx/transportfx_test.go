package transportfx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"
	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/transport"
	"github.com/postrider/postrider/transport/transportfx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every scheme of transport.Standard can be an endpoint.
func TestModule(t *testing.T) {
	for _, want := range transport.Standard() {
		endpoint := want.Scheme() + "://mail.example.com"
		if strings.HasSuffix(want.Scheme(), "+unix") {
			endpoint = want.Scheme() + ":///run/mail.sock"
		}
		app := fxtest.New(t, corefx.Module, transportfx.Module, fx.Supply(core.Config{Endpoint: endpoint}), fx.Invoke(func(*core.Client) {}))
		app.RequireStart().RequireStop()
	}
}

func TestSingle(t *testing.T) {
	for name, test := range map[string]struct {
		option   fx.Option
		endpoint string
		want     string // in the error, or ""
	}{
		"smtp":             {transportfx.SMTP, "smtp://mail.example.com", ""},
		"smtps":            {transportfx.SMTPS, "smtps://mail.example.com", ""},
		"lmtp":             {transportfx.LMTP, "lmtp://mail.example.com", ""},
		"smtp alone":       {transportfx.SMTP, "smtps://mail.example.com", `no transport for the scheme "smtps"`},
		"smtps alone":      {transportfx.SMTPS, "smtp://mail.example.com", `no transport for the scheme "smtp"`},
		"both":             {fx.Options(transportfx.SMTP, transportfx.SMTPS), "smtps://mail.example.com", ""},
		"with the module":  {fx.Options(transportfx.Module, transportfx.SMTP), "smtp://mail.example.com", `two transports for the scheme "smtp"`},
		"the module twice": {fx.Options(transportfx.Module, transportfx.Module), "smtp://mail.example.com", "both from transportfx.New"},
	} {
		err := fx.New(corefx.Module, test.option, fx.Supply(core.Config{Endpoint: test.endpoint}), fx.Invoke(func(*core.Client) {}), fx.NopLogger).Err()
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
	}
}

// A transport.TCP that the application provides is the one that dials.
func TestTCP(t *testing.T) {
	mine := errors.New("my own dialer")
	tcp := transport.TCP{Dialer: &net.Dialer{ControlContext: func(context.Context, string, string, syscall.RawConn) error { return mine }}}
	for _, option := range []fx.Option{transportfx.Module, fx.Options(transportfx.SMTP, transportfx.SMTPS, transportfx.LMTP)} {
		for _, endpoint := range []string{"smtp://127.0.0.1:9", "smtps://127.0.0.1:9", "lmtp://127.0.0.1:9"} {
			var client *core.Client
			app := fxtest.New(t, corefx.Module, option, fx.Supply(tcp, core.Config{Endpoint: endpoint}), fx.Populate(&client)).RequireStart()
			_, err := client.Send(t.Context(), &core.Message{To: core.Recipients("bob@example.net"), Body: core.String("")})
			if !errors.Is(err, mine) {
				t.Errorf("%s: %v, want the dialer's error", endpoint, err)
			}
			app.RequireStop()
		}
	}
}

func Example() {
	app := fx.New(
		corefx.Module, transportfx.Module,
		fx.Supply(core.Config{Endpoint: "smtps://mail.example.com"}),
		fx.Invoke(func(*core.Client) { fmt.Println("the client can dial smtp and smtps") }),
		fx.NopLogger,
	)
	fmt.Println("error:", app.Err())
	// Output:
	// the client can dial smtp and smtps
	// error: <nil>
}

// All transports, those over TCP through a proxy.
func Example_proxy() {
	tcp := transport.TCP{Proxy: transport.Proxy{URL: "socks5://mailer:secret@gateway.example.com"}}
	app := fx.New(
		corefx.Module, transportfx.Module,
		fx.Supply(tcp, core.Config{Endpoint: "smtps://mail.example.com"}),
		fx.Invoke(func(*core.Client) { fmt.Println("the client goes through", tcp.Proxy) }),
		fx.NopLogger,
	)
	fmt.Println("error:", app.Err())
	// Output:
	// the client goes through socks5://gateway.example.com:1080
	// error: <nil>
}

// Only TLS from the first octet, from an address of one's own.
func Example_single() {
	app := fx.New(
		corefx.Module, transportfx.SMTPS,
		fx.Supply(transport.TCP{LocalAddr: netip.MustParseAddr("192.0.2.1")}, core.Config{Endpoint: "smtp://mail.example.com"}),
		fx.Invoke(func(*core.Client) {}),
		fx.NopLogger,
	)
	_, text, _ := strings.Cut(app.Err().Error(), "config: ")
	fmt.Println(text)
	// Output: no transport for the scheme "smtp" of "smtp://mail.example.com": there are smtps
}

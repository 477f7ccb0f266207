package corefx_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms/mechanismsfx"
	"github.com/postrider/postrider/transport/transportfx"
)

// NewConfig says where to send to. An application reads it from its own
// configuration.
func NewConfig() core.Config {
	return core.Config{Endpoint: "smtps://mail.example.com"}
}

// NewAudit returns an interceptor that refuses large audiences.
func NewAudit() core.Interceptor {
	return core.Interceptor{Name: "audit", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if len(d.Message().To) > 100 {
				return errors.New("more than 100 recipients: ask the audit team first")
			}
			return next(ctx, d)
		}
	}}
}

// NewOrganization returns an interceptor that adds a header field.
func NewOrganization() (core.Interceptor, error) {
	return core.Interceptor{Name: "organization", Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			c.Prepend("Organization: Example\r\n")
			return next(ctx, c)
		}
	}}, nil
}

// A service with two interceptors of its own. The order in which they are added
// does not matter.
func Example() {
	app := fx.New(
		corefx.Module, transportfx.Module, mechanismsfx.Module,
		fx.Provide(NewConfig),
		corefx.AsInterceptor(corefx.Transform, NewOrganization),
		corefx.AsInterceptor(corefx.Admit, NewAudit),
		fx.Invoke(func(client *core.Client) {
			fmt.Println("pipeline:", strings.Join(client.Pipeline(), ", "))
		}),
		fx.NopLogger,
	)
	fmt.Println("error:", app.Err())
	// Output:
	// pipeline: audit, organization
	// error: <nil>
}

// Two interceptors of one name are refused, wherever they come from.
func ExampleAsInterceptor() {
	app := fx.New(
		corefx.Module, transportfx.Module,
		fx.Provide(NewConfig),
		corefx.AsInterceptor(corefx.Admit, NewAudit),
		corefx.AsInterceptor(corefx.Wire, NewAudit),
		fx.Invoke(func(*core.Client) {}),
		fx.NopLogger,
	)
	_, text, _ := strings.Cut(app.Err().Error(), "config: ")
	text, _, _ = strings.Cut(text, " at ")
	fmt.Println(text)
	// Output: two interceptors named "audit", both from corefx_test.NewAudit
}

// Tunnel is a transport for a scheme of the company's own.
type Tunnel struct{}

func NewTunnel() *Tunnel { return &Tunnel{} }

func (*Tunnel) Scheme() string { return "corp+tunnel" }

func (*Tunnel) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{Network: "unix", Address: "/run/tunnel/" + u.Hostname(), ServerName: u.Hostname(), Security: core.Protected}, nil
}

func (*Tunnel) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, e.Network, e.Address)
}

// A transport of one's own stands beside the standard ones.
func ExampleAsTransport() {
	app := fx.New(
		corefx.Module, transportfx.Module,
		corefx.AsTransport(NewTunnel),
		fx.Supply(core.Config{Endpoint: "corp+tunnel://relay"}),
		fx.Invoke(func(*core.Client) { fmt.Println("the client knows the scheme") }),
		fx.NopLogger,
	)
	fmt.Println("error:", app.Err())
	// Output:
	// the client knows the scheme
	// error: <nil>
}

// Ticket is a mechanism of the company's own.
type Ticket struct{ office string }

func NewTicket() (*Ticket, error) { return &Ticket{office: "tickets.example.com"}, nil }

func (*Ticket) Name() string { return "X-TICKET" }

func (t *Ticket) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, errors.New("this is an example: " + t.office + " has no tickets")
}

// A mechanism of one's own is preferred to the known ones.
func ExampleAsMechanism() {
	app := fx.New(
		corefx.Module, transportfx.Module, mechanismsfx.Module,
		fx.Provide(NewConfig),
		fx.Supply(mechanismsfx.Credentials{User: "ann", Password: "correct horse"}), // PLAIN, second
		corefx.AsMechanism(NewTicket), // X-TICKET, first
		fx.Invoke(func(*core.Client) {}),
		fx.NopLogger,
	)
	fmt.Println("error:", app.Err())
	// Output: error: <nil>
}

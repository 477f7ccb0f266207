package core_test

import (
	"context"
	"net"
	"net/url"
	"time"

	"github.com/postrider/postrider/core"
)

// dripTransport connects to a server that sends an octet of its greeting now
// and then, for ever.
type dripTransport struct{ every time.Duration }

func (dripTransport) Scheme() string { return "drip" }

func (dripTransport) Endpoint(u *url.URL) (core.Endpoint, error) {
	return core.Endpoint{Address: u.Host, Local: true}, nil
}

func (t dripTransport) Dial(context.Context, core.Endpoint) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		for next := "220-"; ; next = "x" {
			if _, err := server.Write([]byte(next)); err != nil {
				return
			}
			time.Sleep(t.every)
		}
	}()
	return client, nil
}

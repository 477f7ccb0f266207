//go:build unix

package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"

	"github.com/postrider/postrider/core"
)

// tunnel is the transport of the test plugin: it dials the host of the URL, and
// before that does what the option "do" says.
type tunnel struct{}

func (tunnel) Scheme() string { return "test+tunnel" }

func (tunnel) Endpoint(u *url.URL) (core.Endpoint, error) {
	switch u.Query().Get("resolve") {
	case "crash":
		os.Exit(3)
	case "hang":
		select {}
	case "refuse":
		return core.Endpoint{}, fmt.Errorf("%w: no tunnel leads to %s", core.ErrNotSupported, u.Host)
	}
	return core.Endpoint{Network: "tcp", Address: u.Host, ServerName: u.Hostname(), Local: true}, nil
}

func (tunnel) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	switch u.Query().Get("do") {
	case "crash":
		os.Exit(3)
	case "panic":
		panic("oh")
	case "hang":
		select {}
	case "late":
		<-ctx.Done()
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		<-ctx.Done() // it does not stop at once
	case "nothing":
		return nil, nil
	case "fail":
		return nil, errors.New("the gateway does not answer")
	case "refuse":
		return nil, &core.Error{Class: core.Permanent, Hint: "ask for a tunnel", Err: fmt.Errorf("%s is not allowed", e.Address)}
	}
	conn, err := (&net.Dialer{}).DialContext(context.WithoutCancel(ctx), e.Network, e.Address)
	if what := u.Query().Get("conn"); err == nil && what != "" {
		return &misbehaving{conn, what}, nil
	}
	return conn, err
}

// misbehaving is a connection that does not keep the rules of package net.
type misbehaving struct {
	net.Conn
	what string
}

func (c *misbehaving) Read(p []byte) (int, error) {
	switch c.what {
	case "idle":
		return 0, nil
	case "beyond":
		return -1, nil
	}
	return c.Conn.Read(p)
}

func (c *misbehaving) Write(p []byte) (int, error) {
	switch c.what {
	case "panic":
		panic("oh")
	case "short":
		return len(p) - 1, nil
	}
	return c.Conn.Write(p)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = "The plugin ssh-tunnel 1.0.0 has a transport for [smtp+ssh].\n" +
		"The message was accepted, under TLS: true.\n" +
		"The gateway has forwarded the connection.\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
}

// open starts a gateway, and declares the plugin for it.
func open(t *testing.T) (*gateway, plugins.Config) {
	t.Helper()
	folder := t.TempDir()
	g, err := startGateway(folder, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	config, err := install(t.Context(), folder, g.Address())
	if err != nil {
		t.Fatal(err)
	}
	return g, config
}

// The plugin as it was built. The connections of package ssh have no deadlines, and
// those that the mailer gets have.
func TestPlugin(t *testing.T) {
	_, config := open(t)
	plugintest.Run(t, plugintest.Config{
		Plugin: config,
		Transports: map[string]func(testing.TB) (string, net.Listener){
			"smtp+ssh": func(t testing.TB) (string, net.Listener) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				return "smtp+ssh://" + listener.Addr().String(), listener
			},
		},
	})
}

// A gateway that was away is connected to anew.
func TestTunnel_theGatewayIsAway(t *testing.T) {
	g, config := open(t)
	plugin, err := plugins.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plugin.Close(context.WithoutCancel(t.Context())) }()
	tunnel, err := plugin.Transport("smtp+ssh")
	if err != nil {
		t.Fatal(err)
	}
	dial := func(to string) error {
		conn, err := tunnel.Dial(t.Context(), core.Endpoint{URL: "smtp+ssh://" + to, Network: "tcp", Address: to})
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := dial(g.Address()); err != nil { // anything that listens will do
		t.Fatal(err)
	}
	if err := dial("127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		err := dial("127.0.0.1:1")
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Stage != core.StageConnect {
			t.Error(err)
		}
	}
}

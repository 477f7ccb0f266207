package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/examples/plugin-auth/ticket"
	"github.com/postrider/postrider/mechanisms/mechanismtest"
	"github.com/postrider/postrider/plugins/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "a key that client and server share"

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `A binary that is not the declared one is not run.
The plugin corp-auth 1.0.0 has [X-CORP-TICKET].
A message is accepted from ann by X-CORP-TICKET.
The plugin is killed.
It was started again.
A message is accepted from ann by X-CORP-TICKET.
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
}

func TestRun_interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// ofTicket says what there is to know of the mechanism.
func ofTicket() mechanismtest.Config {
	return mechanismtest.Config{
		Server: smtptest.ServerOptions{
			StartTLS: true, Remote: true, // the name in the ticket is server.example
			Mechanisms: map[string]smtptest.AuthFunc{ticket.Name: admit([]byte(key))},
		},
		Secrets: []string{key},
	}
}

// The mechanism in process, and behind the wire protocol.
func TestTicket(t *testing.T) {
	for name, wrap := range map[string]func(testing.TB, core.Mechanism) core.Mechanism{
		"in process": func(_ testing.TB, m core.Mechanism) core.Mechanism { return m },
		"as plugin":  plugintest.Mechanism,
	} {
		t.Run(name, func(t *testing.T) {
			config := ofTicket()
			config.New = func(t testing.TB) core.Mechanism { return wrap(t, ticket.New("ann", []byte(key))) }
			mechanismtest.Run(t, config)
		})
	}
}

// The plugin as it was built.
func TestPlugin(t *testing.T) {
	config, err := install(t.Context(), t.TempDir(), key)
	if err != nil {
		t.Fatal(err)
	}
	plugintest.Run(t, plugintest.Config{
		Plugin:     config,
		Mechanisms: map[string]mechanismtest.Config{ticket.Name: ofTicket()},
	})
}

// A plugin is a small thing.
func TestPlugin_isSmall(t *testing.T) {
	text, err := os.ReadFile("corp-auth/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n >= 40 {
		t.Errorf("corp-auth/main.go has %d lines, and is to have fewer than 40", n)
	}
}

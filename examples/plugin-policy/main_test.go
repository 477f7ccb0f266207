package main

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/plugins/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const why = "policy: interceptor recipients of plugin corp-policy: there is no such mailbox, as a server has said before (take it off your list)\n"
	const want = "The plugin corp-policy 1.0.0 has [recipients].\n" +
		"  bob@example.net: accepted\n" +
		"  gone@example.net: refused: rcpt: 550 5.1.1 no such mailbox\n" +
		"  sales@corp.example: accepted\n" +
		"  It has arrived for [bob@example.net carol@corp.example].\n" +
		"  gone@example.net: refused: " + why +
		"  bob@example.net: accepted\n" +
		"  It has arrived for [bob@example.net].\n" +
		"The plugin was killed, and is there again.\n" +
		"  gone@example.net: refused: " + why
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
}

// The plugin as it was built.
func TestPlugin(t *testing.T) {
	config, err := install(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plugintest.Run(t, plugintest.Config{Plugin: config})
}

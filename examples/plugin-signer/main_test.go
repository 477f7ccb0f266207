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
	const want = "The plugin dkim-key 1.0.0 has [corp.example].\nThe message is signed by corp.example.\n"
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

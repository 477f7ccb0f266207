package sdk_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/sdk"
)

// The test binary is also the plugin.
func TestMain(m *testing.M) {
	switch os.Getenv("TEST_PLUGIN") {
	case "":
		os.Exit(m.Run())
	case "two of one name":
		sdk.Serve(sdk.Mechanism(mechanisms.Plain("ann", "x")), sdk.Mechanism(mechanisms.Plain("bob", "x")))
	case "a bad name":
		sdk.Serve(sdk.Info("corp auth", "1"), sdk.Mechanism(mechanisms.Plain("ann", "x")))
	case "nothing":
		sdk.Serve()
	case "no mechanism":
		sdk.Serve(sdk.Mechanism(nil))
	default:
		sdk.Serve(sdk.Mechanism(mechanisms.Plain("ann", "x")))
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServe_startedByHandSaysWhatItIs(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), self(t))
	cmd.Env = []string{"TEST_PLUGIN=well"}
	output, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok || !strings.Contains(string(output), "is a plugin of Postrider") {
		t.Errorf("%v: %s", err, output)
	}
}

// What is not right with the parts is in the host's log.
func TestServe_refusesParts(t *testing.T) {
	for mode, says := range map[string]string{
		"two of one name": "two of its mechanisms are named PLAIN",
		"a bad name":      "use 1 to 64 letters",
		"nothing":         "it has no mechanism, no signer",
		"no mechanism":    "mechanism 0 is nil",
	} {
		t.Run(mode, func(t *testing.T) {
			var log strings.Builder // read when the plugin has ended
			_, err := plugins.Start(t.Context(), plugins.Config{
				Path: self(t), Env: []string{"TEST_PLUGIN=" + mode}, Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if !errors.Is(err, plugins.ErrEnded) || !strings.Contains(log.String(), says) {
				t.Errorf("%v\n%s", err, &log)
			}
		})
	}
}

// A plugin ends with its standard input, which is how it knows of the host's end
// where the kernel does not tell.
func TestServe_endsWithItsInput(t *testing.T) {
	p, err := plugins.Start(t.Context(), plugins.Config{Path: self(t), Env: []string{"TEST_PLUGIN=well"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Mechanism("PLAIN")
	if err != nil {
		t.Fatal(err)
	}
	a, initial, err := m.Start(t.Context(), &core.Peer{})
	if string(initial) != "\x00ann\x00x" || err != nil {
		t.Errorf("%q, %v", initial, err)
	}
	if err := p.Close(context.Background()); !errors.Is(err, plugins.ErrLate) {
		t.Errorf("it does not wait for the authentication: %v", err)
	}
	runtime.KeepAlive(a)
}

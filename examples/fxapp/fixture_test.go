package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"
	"go.uber.org/goleak"

	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins/sdk"
)

// programArgs is the variable with which the test's program is the service.
const programArgs = "FXAPP_TEST_ARGS"

// pluginSwitch is the variable with which it is a plugin.
const pluginSwitch = "FXAPP_TEST_PLUGIN"

func TestMain(m *testing.M) {
	if args := os.Getenv(programArgs); args != "" {
		os.Exit(run(strings.Fields(args), os.Getenv, os.Stdout, os.Stderr))
	}
	if os.Getenv(pluginSwitch) != "" {
		sdk.Serve(sdk.Info("corp-auth", "1"), sdk.Mechanism(mechanisms.Plain("ann", "correct horse")))
	}
	goleak.VerifyTestMain(m)
}

// quiet is a logger that nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// settingsFor returns settings that lead to a server.
func settingsFor(server *smtptest.Server) settings {
	return settings{endpoint: server.URL(), tls: server.Config().TLS, listen: "127.0.0.1:0", stopTimeout: 30 * time.Second}
}

// start starts the service. The test stops it.
func start(t *testing.T, s settings, more ...fx.Option) (*fxtest.App, *api) {
	t.Helper()
	var a *api
	return fxtest.New(t, append(more, service(s, quiet()), fx.Populate(&a))...).RequireStart(), a
}

// request posts what is to be a letter.
func request(a *api, contentType string, body io.Reader) (status int, text string, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post("http://"+a.address+"/send", contentType, body)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// send posts a letter with a text to the recipients and returns the answer.
func send(t *testing.T, a *api, text string, to ...string) (answer, error) {
	t.Helper()
	body, err := json.Marshal(letter{"me@example.com", to, "Subject: hello\r\n\r\n" + text})
	if err != nil {
		t.Error(err)
	}
	status, content, err := request(a, "application/json; charset=utf-8", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	var got answer
	if err := json.NewDecoder(strings.NewReader(content)).Decode(&got); err != nil || status != http.StatusOK {
		t.Errorf("answered %d %q: %v", status, content, err)
	}
	return got, nil
}

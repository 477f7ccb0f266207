package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/logging"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/middleware/telemetry"
	"github.com/postrider/postrider/plugins/pluginsfx"
)

// newConfig says where to send to.
func newConfig(s settings) core.Config { return core.Config{Endpoint: s.endpoint, TLS: s.tls} }

// connecting has the service connect when it starts, if it is to.
func connecting(s settings) fx.Option {
	if s.connect {
		return corefx.ConnectAtStart
	}
	return fx.Options()
}

// newCredentials returns a source that reads the password anew for each
// connection, so that it can be changed while the service runs.
func newCredentials(s settings) mechanisms.Source {
	if s.user == "" {
		return nil // the service does not authenticate
	}
	return mechanisms.File{User: s.user, Path: s.passwordFile}.Credentials
}

// newPlugins reads which plugins there are: none without a file.
func newPlugins(s settings) (config pluginsfx.Config, err error) {
	if s.plugins == "" {
		return config, nil
	}
	data, err := os.ReadFile(s.plugins)
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil {
		err = fmt.Errorf("the file of -plugins: %w", err)
	}
	return config, err
}

// newTelemetry reports to the global providers of OpenTelemetry. Without an SDK
// that is nobody.
func newTelemetry() (core.Interceptor, error) { return telemetry.New() }

// newLogging logs each delivery. Within a stage the order is that of the names,
// and behind telemetry the records have the ids of its trace.
func newLogging(log *slog.Logger) (core.Interceptor, error) {
	i, err := logging.New(logging.Config{Logger: log})
	i.Name = "telemetry.logging"
	return i, err
}

func newRetry() (core.Interceptor, error) { return retry.New(retry.Config{}) }

// newEventLogger has fx log what it does, if the level is debug, and what fails.
func newEventLogger(log *slog.Logger) fxevent.Logger {
	l := &fxevent.SlogLogger{Logger: log}
	l.UseLogLevel(slog.LevelDebug)
	return l
}

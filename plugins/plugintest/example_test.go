package plugintest_test

import (
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/mechanisms/mechanismtest"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/plugintest"
)

// The test of a plugin that was built: of itself, and of its mechanism.
func ExampleRun() {
	_ = func(t *testing.T) { // TestPlugin
		plugintest.Run(t, plugintest.Config{
			Plugin: plugins.Config{Path: "/usr/lib/mailer/corp-auth", Name: "corp-auth"},
			Mechanisms: map[string]mechanismtest.Config{
				"PLAIN": {
					Server:  smtptest.ServerOptions{Users: map[string]string{"ann": "correct horse"}},
					Secrets: []string{"correct horse"},
				},
			},
		})
	}
	// Output:
}

// The test of a mechanism that will be a plugin, without a process.
func ExampleMechanism() {
	_ = func(t *testing.T) { // TestMechanism
		mechanismtest.Run(t, mechanismtest.Config{
			New: func(t testing.TB) core.Mechanism {
				return plugintest.Mechanism(t, mechanisms.Plain("ann", "correct horse"))
			},
			Server:  smtptest.ServerOptions{Users: map[string]string{"ann": "correct horse"}},
			Secrets: []string{"correct horse"},
		})
	}
	// Output:
}

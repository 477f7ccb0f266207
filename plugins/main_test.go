//go:build unix

package plugins_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary is also the plugin that the tests start.
func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" {
		serve(mode)
		return
	}
	goleak.VerifyTestMain(m)
}

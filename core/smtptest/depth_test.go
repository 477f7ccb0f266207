package smtptest_test

import (
	"fmt"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func ExampleAtDepth() {
	config := smtptest.AtDepth(core.Config{PipelineDepth: 4})
	fmt.Println(config.PipelineDepth)
	// Output: 4
}

func TestAtDepth(t *testing.T) {
	for _, tt := range []struct {
		environment string
		own, want   int
	}{
		{"", 0, 0},
		{"", 4, 4},
		{"16", 0, 16},
		{"16", 4, 4},
	} {
		t.Setenv("POSTRIDER_TEST_DEPTH", tt.environment)
		if got := smtptest.AtDepth(core.Config{PipelineDepth: tt.own}).PipelineDepth; got != tt.want {
			t.Errorf("environment %q, the test's own %d: got %d, want %d", tt.environment, tt.own, got, tt.want)
		}
	}
	t.Run("a mistake is not run past", func(t *testing.T) {
		t.Setenv("POSTRIDER_TEST_DEPTH", "sixteen")
		defer func() {
			if recover() == nil {
				t.Error("it was")
			}
		}()
		smtptest.AtDepth(core.Config{})
	})
}

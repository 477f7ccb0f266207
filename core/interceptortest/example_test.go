package interceptortest_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/interceptortest"
)

// stamp puts a header field in front of each message.
func stamp() core.Interceptor {
	return core.Interceptor{
		Name: "stamp",
		Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error {
				c.Prepend("X-Stamp: yes\r\n")
				return next(ctx, c)
			}
		},
	}
}

// The test of an interceptor that changes content: it says what becomes of it.
func ExampleRun() {
	config := interceptortest.Config{
		New: func(testing.TB) core.Interceptor { return stamp() },
		Expect: func(sent, received []byte) error {
			if want := append([]byte("X-Stamp: yes\r\n"), sent...); !bytes.Equal(received, want) {
				return fmt.Errorf("received %q", received)
			}
			return nil
		},
	}
	// This is TestStamp, in the test file of the package.
	testStamp := func(t *testing.T) { interceptortest.Run(t, config) }

	passed := testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "TestStamp", F: testStamp}})
	fmt.Println("it keeps to the rules:", passed)
	// Output:
	// it keeps to the rules: true
}

package sdk_test

import (
	"context"
	"crypto/rand"

	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins/sdk"
)

// The main function of a plugin. The token comes from where the plugin runs.
func ExampleServe() {
	_ = func() { // main
		token := rand.Text()
		sdk.Logger().Info("there is a token")
		sdk.Serve(
			sdk.Info("corp-auth", "1.4.0"),
			sdk.Mechanism(mechanisms.Func("X-CORP-TOKEN", func(context.Context, []byte) ([]byte, error) {
				return []byte(token), nil
			})),
		)
	}
	// Output:
}

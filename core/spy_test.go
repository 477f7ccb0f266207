package core_test

import (
	"context"

	"github.com/postrider/postrider/core"
)

// spyExchange notes the commands that are written.
func spyExchange(seen *[]string) func(core.ExchangeFunc) core.ExchangeFunc {
	return func(next core.ExchangeFunc) core.ExchangeFunc {
		return func(ctx context.Context, x *core.Exchange) error {
			for i := range x.Commands {
				*seen = append(*seen, x.Commands[i].String())
			}
			return next(ctx, x)
		}
	}
}

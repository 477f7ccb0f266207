package interceptortest_test

import (
	"context"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/interceptortest"
)

// through has every function, and each does nothing but call next.
func through(testing.TB) core.Interceptor {
	return core.Interceptor{
		Name:     "through",
		Delivery: func(next core.DeliverFunc) core.DeliverFunc { return next },
		Attempt:  func(next core.AttemptFunc) core.AttemptFunc { return next },
		Content:  func(next core.ContentFunc) core.ContentFunc { return next },
		Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error { return next(ctx, c) }
		},
		Exchange: func(next core.ExchangeFunc) core.ExchangeFunc { return next },
		Pool:     func(core.PoolEvent) {},
	}
}

func TestRun_whatDoesNothingBreaksNoRule(t *testing.T) {
	interceptortest.Run(t, interceptortest.Config{New: through})
}

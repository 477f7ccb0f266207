package retry_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/retry"
)

func TestWhatNewRefuses(t *testing.T) {
	constant := func() backoff.BackOff { return backoff.NewConstantBackOff(time.Second) }
	for _, tt := range []struct {
		rule   string
		config retry.Config
		says   string // "": it is accepted
	}{
		{"the zero value is accepted", retry.Config{}, ""},
		{"a first wait longer than the default MaxInterval is accepted", retry.Config{InitialInterval: time.Hour}, ""},
		{"no limit of attempts is accepted with MaxElapsed", retry.Config{Attempts: -1, MaxElapsed: time.Hour}, ""},
		{"no limit of attempts is accepted with NewBackOff", retry.Config{Attempts: -1, NewBackOff: constant}, ""},
		{"no limit at all is not", retry.Config{Attempts: -1}, "MaxElapsed"},
		{"a negative first wait is not", retry.Config{InitialInterval: -1}, "InitialInterval"},
		{"a negative longest wait is not", retry.Config{MaxInterval: -1}, "MaxInterval"},
		{"a longest wait that is shorter than the first is not", retry.Config{InitialInterval: 2, MaxInterval: 1}, "MaxInterval"},
		{"a negative MaxElapsed is not", retry.Config{MaxElapsed: -1}, "MaxElapsed"},
		{"waits that get shorter are not", retry.Config{Multiplier: 0.5}, "Multiplier"},
		{"a multiplier that is no number is not", retry.Config{Multiplier: math.NaN()}, "Multiplier"},
		{"a randomization that makes waits negative is not", retry.Config{Randomization: 1.5}, "Randomization"},
		{"a budget that is no number is not", retry.Config{Budget: retry.Budget{Ratio: math.NaN()}}, "Budget"},
		{"NewBackOff beside what it replaces is not", retry.Config{NewBackOff: constant, Multiplier: 2}, "NewBackOff"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			i, err := retry.New(tt.config)
			if tt.says == "" {
				if err != nil || i.Name != "retry" || i.Delivery == nil {
					t.Errorf("got %+v, %v", i, err)
				}
				return
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Stage != core.StageConfig || !strings.Contains(e.Error(), tt.says) {
				t.Errorf("got the error %v, want one of the configuration that says %s", err, tt.says)
			}
		})
	}
}

func TestABackOffThatIsNilIsAnError(t *testing.T) {
	receipt, err := send(t, &server{mail: first(1, "451 later")}, retry.Config{NewBackOff: func() backoff.BackOff { return nil }}, core.String(content))
	if err == nil || receipt.Recipients[0].Outcome != core.Deferred {
		t.Errorf("got %+v, %v", receipt, err)
	}
}

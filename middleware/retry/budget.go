package retry

import (
	"errors"
	"sync"
	"time"
)

// Defaults of [Budget].
const (
	DefaultBudgetRatio     = 1.0
	DefaultBudgetPerSecond = 10
)

// window is how many seconds a budget looks back.
const window = 10

// ErrBudget says that a delivery was not tried again because of
// [Config.Budget]: so many others were, compared with how much is sent at all,
// that the server is likely to be out of order. Send the message later.
var ErrBudget = errors.New("the retry budget is used up: send it later, or raise Config.Budget")

// Budget limits how many tries again there are, for all deliveries of an
// interceptor together. In any ten seconds there are as many as
//
//	Ratio × (the deliveries begun in them) + PerSecond × 10
//
// A delivery that wants one more ends with what the server said last, and with
// [ErrBudget].
type Budget struct {
	// Ratio is how many there may be for each delivery: 0.2 is one for five
	// deliveries. Zero means 1, since to be deferred once is usual: a server that
	// defers everything is then asked twice as often as without a retry, and not
	// as many times as Attempts says. A negative number sets no limit at all.
	Ratio float64
	// PerSecond is how many there may be in any case, so that it does not matter
	// when little is sent. Zero means 10; a negative number, none.
	PerSecond int
}

// budget counts by the second. Nil sets no limit.
type budget struct {
	ratio, least float64

	mu                  sync.Mutex
	start               time.Time // of second 0
	second              int64     // the last that was counted in
	seconds             [window]struct{ deliveries, tries int }
	deliveries, retries int // in all of them
}

func newBudget(b Budget) *budget {
	if b.Ratio < 0 {
		return nil
	}
	if b.Ratio == 0 {
		b.Ratio = DefaultBudgetRatio
	}
	if b.PerSecond == 0 {
		b.PerSecond = DefaultBudgetPerSecond
	}
	return &budget{ratio: b.Ratio, least: float64(max(b.PerSecond, 0) * window)}
}

// deliver counts a delivery.
func (b *budget) deliver(now time.Time) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass(now)
	b.deliveries++
	b.seconds[b.second%window].deliveries++
}

// take counts one more try, if there may be one.
func (b *budget) take(now time.Time) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass(now)
	if float64(b.retries+1) > b.ratio*float64(b.deliveries)+b.least {
		return false
	}
	b.retries++
	b.seconds[b.second%window].tries++
	return true
}

// pass forgets the seconds that are no longer among the last. Time does not run
// backwards: who comes with an older one counts as if he came now.
func (b *budget) pass(now time.Time) {
	if b.start.IsZero() {
		b.start = now
	}
	to := int64(now.Sub(b.start) / time.Second)
	for n := 0; b.second < to && n < window; n++ {
		b.second++
		s := &b.seconds[b.second%window]
		b.deliveries -= s.deliveries
		b.retries -= s.tries
		*s = struct{ deliveries, tries int }{}
	}
	b.second = max(b.second, to)
}

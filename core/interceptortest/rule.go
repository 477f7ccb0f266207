package interceptortest

import (
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// rule is something that holds for every interceptor, and the cases in which that
// is looked at.
type rule struct {
	name    string
	cases   []testCase
	conduct bool // see conductRules
}

// testCase is one case. It tells the bench what it finds.
type testCase struct {
	name string // empty if it is the rule's only one
	run  func(*bench)
}

// run is one interceptor's way through the cases.
type run struct {
	config  Config
	conduct map[string][]string // what was found, by rule; nil before it was looked for
	over    bool                // the rest is not run: something blocks for ever, say
	leaked  bool                // goroutines were found that do not end
}

func newRun(config Config) *run { return &run{config: config} }

// rules returns all of them. Those about conduct are the first: they say best what
// is wrong.
func (r *run) rules() []rule {
	list := r.conductRules()
	list = append(list, arrivalRules()...)
	list = append(list, outcomeRules()...)
	list = append(list, faultRules()...)
	list = append(list, contextRule())
	list = append(list, concurrencyRules()...)
	return append(list, shutdownRule())
}

// numbers tells cases apart, in the labels of their goroutines.
var numbers atomic.Int64

// skips reports whether a rule is not looked at, because the rest is not run.
func (r *run) skips(rule rule) bool { return r.over && !rule.conduct }

// examine runs a case and returns what it has found.
func (r *run) examine(t testing.TB, c testCase) []string {
	b := &bench{run: r, number: strconv.FormatInt(numbers.Add(1), 10), released: make(chan struct{})}
	b.release = sync.OnceFunc(func() { close(b.released) })
	// The labels are those of every goroutine that is started from here, however
	// indirectly.
	pprof.Do(t.Context(), pprof.Labels(label, b.number), func(ctx context.Context) {
		b.scope = newScope(ctx, t)
		defer b.close()
		c.run(b)
	})
	r.over = r.over || b.stuck.Load()
	if !b.stuck.Load() && !r.leaked {
		if left := b.leftBehind(); left != "" {
			r.leaked = true
			b.foundf("goroutines are still there when everything is closed and cleaned up:\n%s", left)
		}
	}
	// What hangs may still find something.
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.found)
}

// foundf notes something that is not as it should be.
func (b *bench) foundf(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found = append(b.found, fmt.Sprintf(format, args...))
}

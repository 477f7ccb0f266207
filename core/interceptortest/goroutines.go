package interceptortest

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"strings"
	"time"
)

// label is the key of the profiler label that the goroutines of a case carry:
// every goroutine has those of the one that started it. So those of other tests,
// which may run at the same time, are not taken for the interceptor's.
const label = "interceptortest"

// goroutines returns the stacks of the case's goroutines, but for the caller's if
// that is one.
func (b *bench) goroutines() string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return err.Error()
	}
	var list []string
	for _, stack := range strings.Split(profile.String(), "\n\n") {
		if strings.Contains(stack, fmt.Sprintf("%q:%q", label, b.number)) && !strings.Contains(stack, "runtime/pprof.writeGoroutine") {
			list = append(list, stack)
		}
	}
	const most = 8 << 10
	all := strings.Join(list, "\n\n")
	return all[:min(len(all), most)]
}

// leftBehind returns the stacks of the goroutines that have not ended when they
// have had time to.
func (b *bench) leftBehind() string {
	end := time.Now().Add(b.run.config.Patience)
	for wait := time.Millisecond; ; wait *= 2 {
		left := b.goroutines()
		if left == "" || time.Now().After(end) {
			return left
		}
		<-time.After(wait)
	}
}

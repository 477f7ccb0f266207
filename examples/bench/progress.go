package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress says now and then how far a run has come: every second in one line of
// a terminal, every five seconds in a line of its own elsewhere. A run that is
// over before says nothing.
type progress struct {
	out      io.Writer
	terminal bool
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// begin begins to say how many of a total are done. The caller calls end, which
// waits.
func (p *progress) begin(total int, done func() int) (end func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		p.show(over, total, done)
	}()
	return func() {
		close(over)
		<-ended
	}
}

func (p *progress) show(over <-chan struct{}, total int, done func() int) {
	every, form := 5*time.Second, "%s\n"
	if p.terminal {
		every, form = time.Second, "\r%-60s"
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	drawn, before := false, 0
	for {
		select {
		case <-over:
			if drawn && p.terminal {
				_, _ = fmt.Fprintf(p.out, "\r%-60s\r", "")
			}
			return
		case <-ticker.C:
		}
		n := done()
		_, _ = fmt.Fprintf(p.out, form, fmt.Sprintf("bench: %d of %d, %.0f/s", n, total, float64(n-before)/every.Seconds()))
		drawn, before = true, n
	}
}

package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar on a terminal. A nil one is none.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress returns the bar for a run, if there is something to show and a
// terminal to show it on. Where interceptors or plugins write to the terminal there
// is none.
func newProgress(s *settings, sys *system) *progress {
	if len(s.files) < 2 || !term.IsTerminal(int(sys.stderr.Fd())) {
		return nil
	}
	if s.asked("logging") || s.asked("telemetry") || s.asked("dialogue") || s.pluginLog {
		return nil
	}
	return &progress{progressbar.NewOptions(len(s.files),
		progressbar.OptionSetWriter(sys.stderr),
		progressbar.OptionSetDescription("sending"),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("messages"),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionFullWidth(),
		progressbar.OptionClearOnFinish(),
	)}
}

func (p *progress) shown() bool { return p != nil }

// clear takes the bar away until the next step: something is about to be printed.
// That a terminal is gone is no reason to stop, here and below.
func (p *progress) clear() {
	if p != nil {
		_ = p.bar.Clear()
	}
}

// step says that one more message is done.
func (p *progress) step() {
	if p != nil {
		_ = p.bar.Add(1)
	}
}

// end takes the bar away.
func (p *progress) end() {
	if p != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}

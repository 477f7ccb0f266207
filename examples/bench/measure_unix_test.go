//go:build unix

package main

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestResources_areKnown(t *testing.T) {
	_, out, _ := bench(t, "-n=200")
	if values := result(t, out); values["cpu_s"] <= 0 || values["rss_kib"] < 1000 {
		t.Errorf("result %v", values)
	}
}

func TestHighWater(t *testing.T) {
	if kib, ok := highWater([]byte("Name:\tbench\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n")); !ok || kib != 12345 {
		t.Errorf("%d, %v", kib, ok)
	}
	for _, status := range []string{"", "Name:\tVmHWM:\n", "Name:\tx\nVmHWM:", "Name:\tx\nVmHWM:\tmuch kB\n"} {
		if _, ok := highWater([]byte(status)); ok {
			t.Errorf("%q has none", status)
		}
	}
}

// An interrupt ends a run early, and what was sent until then is told.
func TestInterrupt(t *testing.T) {
	var once sync.Once
	server := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply {
		once.Do(func() {
			if self, err := os.FindProcess(os.Getpid()); err != nil || self.Signal(os.Interrupt) != nil {
				t.Error("there is no way to interrupt this process")
			}
		})
		return nil
	}})
	status, out, errs := bench(t, "-n=1000000", "-addr="+addressOf(server))
	if status != 1 || !strings.Contains(errs, "because of an interrupt") {
		t.Errorf("status %d: %s", status, errs)
	}
	if sent := result(t, out)["sent"]; sent < 1 || sent >= 1_000_000 || int(sent) != len(server.Messages()) {
		t.Errorf("%v sent", sent)
	}
}

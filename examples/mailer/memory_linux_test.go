package main

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// Ten thousand files from a folder: all arrive, over one session, and memory
// does not grow with their number.
func TestMany_memoryIsFlat(t *testing.T) {
	var used [2]int
	for i, n := range []int{100, 10_000} {
		var process, messages atomic.Int64
		// The kernel's figure for a process that has ended would count what the
		// test itself had when it started it.
		s := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
			if messages.Add(1) == int64(n) {
				used[i] = mostResident(t, process.Load())
			}
			return nil
		}})
		r := start(t, to(s.URL(), append([]string{"-depth", "16"}, outbox(t, n)...)...)...)
		process.Store(int64(r.cmd.Process.Pid))
		if files := r.end(t); len(files[delivered]) != n || len(s.Messages()) != n {
			t.Fatalf("%d messages arrived, %s", len(s.Messages()), &r.stderr)
		}
	}
	// The arguments, and the garbage between two collections, are some megabytes.
	if used[0] == 0 || used[1] > used[0]+(16<<10) {
		t.Errorf("%d KiB for 100 messages, %d KiB for 10,000", used[0], used[1])
	}
}

// mostResident returns the most memory that was resident of a process, in KiB.
func mostResident(t *testing.T, process int64) (kib int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	if err != nil {
		t.Error(err)
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		t.Error(err)
	}
	return kib
}

//go:build unix

package main

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// cpuTime returns the CPU time that the process has used.
func cpuTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// peakResident returns the most memory that the process had resident, in KiB. On
// Linux getrusage would count what the process had before it ran this program: a
// copy of its parent's.
func peakResident() int64 {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		if kib, ok := highWater(status); ok {
			return kib
		}
	}
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	most := int64(used.Maxrss)
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		most /= 1024 // these count octets
	}
	return most
}

// highWater reads VmHWM of /proc/self/status.
func highWater(status []byte) (kib int64, ok bool) {
	_, rest, found := bytes.Cut(status, []byte("\nVmHWM:"))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, false
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return kib, err == nil
}

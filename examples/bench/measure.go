package main

import (
	"runtime"
	"time"
)

// measurement is what a run took. It is printed as it is.
type measurement struct {
	Sent       int     `json:"sent"`
	Elapsed    float64 `json:"elapsed_s"`
	CPU        float64 `json:"cpu_s"` // of the process, user and system
	Mallocs    uint64  `json:"mallocs"`
	AllocBytes uint64  `json:"alloc_bytes"`
	RSS        int64   `json:"rss_kib"` // the most since the process was started
}

// watch is a stopwatch for time, CPU and memory.
type watch struct {
	memory runtime.MemStats
	cpu    time.Duration
	began  time.Time
}

// startWatch starts the clock last, and stop stops it first, because reading the
// memory's statistics takes a while.
func startWatch() *watch {
	w := &watch{}
	runtime.GC() // what was there before is not part of it
	runtime.ReadMemStats(&w.memory)
	w.cpu = cpuTime()
	w.began = time.Now()
	return w
}

func (w *watch) stop() measurement {
	elapsed := time.Since(w.began)
	cpu := cpuTime() - w.cpu
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return measurement{
		Elapsed:    elapsed.Seconds(),
		CPU:        cpu.Seconds(),
		Mallocs:    memory.Mallocs - w.memory.Mallocs,
		AllocBytes: memory.TotalAlloc - w.memory.TotalAlloc,
		RSS:        peakResident(),
	}
}

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// summary says for people what a run came to.
func (l *load) summary(m measurement, size int) []string {
	latencies := make([]time.Duration, 0, m.Sent)
	for _, c := range l.connections {
		latencies = append(latencies, c.latencies...)
	}
	if len(latencies) == 0 {
		return nil
	}
	n := float64(m.Sent)
	lines := []string{
		fmt.Sprintf("%s accepted in %.3f s: %.0f messages/s, %.1f MB/s", plural(m.Sent, "message"), m.Elapsed, n/m.Elapsed, n*float64(size)/m.Elapsed/1e6),
		latencySummary(latencies),
	}
	cost := fmt.Sprintf("for each message: %.1f allocations, %.0f bytes allocated", float64(m.Mallocs)/n, float64(m.AllocBytes)/n)
	if m.CPU > 0 {
		cost += fmt.Sprintf(", %.1f µs of CPU", m.CPU/n*1e6)
	}
	return append(lines, cost)
}

// latencySummary describes at least one latency, which it sorts.
func latencySummary(latencies []time.Duration) string {
	slices.Sort(latencies)
	var sum float64
	for _, l := range latencies {
		sum += float64(l)
	}
	mean := time.Duration(sum / float64(len(latencies)))
	return fmt.Sprintf("latency in ms: min %s, mean %s, p50 %s, p90 %s, p99 %s, max %s", millis(latencies[0]), millis(mean),
		millis(percentile(latencies, 50)), millis(percentile(latencies, 90)), millis(percentile(latencies, 99)), millis(latencies[len(latencies)-1]))
}

// percentile returns the least value that p percent of them do not exceed. They
// are sorted.
func percentile(sorted []time.Duration, p int) time.Duration {
	rank := int(math.Ceil(float64(len(sorted)) * float64(p) / 100))
	return sorted[max(rank, 1)-1]
}

// millis writes a duration in milliseconds.
func millis(d time.Duration) string { return fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond)) }

package main

import (
	"testing"
	"time"
)

func TestLatencySummary(t *testing.T) {
	var hundred []time.Duration
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i)*time.Millisecond)
	}
	for _, tt := range []struct {
		latencies []time.Duration
		want      string
	}{
		{[]time.Duration{1500 * time.Microsecond}, "min 1.500, mean 1.500, p50 1.500, p90 1.500, p99 1.500, max 1.500"},
		{[]time.Duration{3e6, 1e6}, "min 1.000, mean 2.000, p50 1.000, p90 3.000, p99 3.000, max 3.000"},
		{hundred, "min 1.000, mean 50.500, p50 50.000, p90 90.000, p99 99.000, max 100.000"},
	} {
		if got := latencySummary(tt.latencies); got != "latency in ms: "+tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

package retry

import (
	"testing"
	"time"
)

func TestABudgetLooksBackTenSeconds(t *testing.T) {
	type step struct {
		at         time.Duration
		deliveries int
		wants, get int // tries again
	}
	for _, tt := range []struct {
		rule   string
		budget Budget
		steps  []step
	}{
		{"the zero value: one for each delivery, and a hundred", Budget{}, []step{{0, 1000, 2000, 1100}}},
		{"a ratio", Budget{Ratio: 0.2, PerSecond: -1}, []step{{0, 4, 1, 0}, {0, 1, 2, 1}, {0, 10, 5, 2}}},
		{"so many in any case", Budget{Ratio: 0.01, PerSecond: 2}, []step{{0, 0, 30, 20}}},
		{"what was used is there again after ten seconds, not before", Budget{Ratio: 0.01, PerSecond: 1},
			[]step{{0, 0, 20, 10}, {9 * time.Second, 0, 1, 0}, {10 * time.Second, 0, 20, 10}}},
		{"second by second", Budget{Ratio: 0.01, PerSecond: 1},
			[]step{{0, 0, 4, 4}, {5 * time.Second, 0, 10, 6}, {10 * time.Second, 0, 10, 4}, {15 * time.Second, 0, 10, 6}}},
		{"deliveries are forgotten as well", Budget{Ratio: 1, PerSecond: -1},
			[]step{{0, 10, 5, 5}, {12 * time.Second, 0, 5, 0}, {12 * time.Second, 2, 5, 2}}},
		{"after a long silence nothing is left of what was", Budget{Ratio: 1, PerSecond: -1},
			[]step{{0, 10, 20, 10}, {24 * 365 * time.Hour, 1, 2, 1}}},
		{"who began before counts as now", Budget{Ratio: 1, PerSecond: -1},
			[]step{{30 * time.Second, 1, 1, 1}, {0, 1, 1, 1}, {39 * time.Second, 0, 1, 0}}},
		{"a negative ratio sets no limit", Budget{Ratio: -1}, []step{{0, 0, 100_000, 100_000}}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			b, start := newBudget(tt.budget), time.Now()
			for n, s := range tt.steps {
				for range s.deliveries {
					b.deliver(start.Add(s.at))
				}
				got := 0
				for range s.wants {
					if b.take(start.Add(s.at)) {
						got++
					}
				}
				if got != s.get {
					t.Errorf("step %d: there were %d, want %d", n+1, got, s.get)
				}
			}
		})
	}
}

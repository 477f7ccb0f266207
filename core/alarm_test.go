package core

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a connection that notes when it was interrupted.
type watchedConn struct {
	net.Conn
	began       time.Time
	interrupted []time.Duration
}

func (c *watchedConn) SetDeadline(end time.Time) error {
	if end.Equal(past) {
		c.interrupted = append(c.interrupted, time.Since(c.began))
	}
	return nil
}

func TestAlarm(t *testing.T) {
	const minute = time.Minute
	for _, tt := range []struct {
		rule string
		// waits follow each other: how long each may take, and how long it does.
		waits []([2]time.Duration)
		want  []time.Duration // when the connection is interrupted
	}{
		{"a wait that ends in time is not interrupted", [][2]time.Duration{{minute, minute / 2}, {minute, minute - 1}}, nil},
		{"one that takes too long is, at its end", [][2]time.Duration{{minute, 2 * minute}}, []time.Duration{minute}},
		{"a longer wait after a shorter one has its whole time", [][2]time.Duration{{minute, minute / 2}, {10 * minute, 10*minute - 1}, {10 * minute, 11 * minute}}, []time.Duration{minute/2 + 10*minute - 1 + 10*minute}},
		{"a shorter wait after a longer one ends in time", [][2]time.Duration{{10 * minute, 1}, {minute, 2 * minute}}, []time.Duration{minute + 1}},
		{"a rest between waits does not count", [][2]time.Duration{{minute, 1}, {0, 10 * minute}, {minute, minute - 1}}, nil},
		{"it goes off again after it has gone off", [][2]time.Duration{{minute, 2 * minute}, {minute, 2 * minute}}, []time.Duration{minute, 3 * minute}},
		{"a wait without a limit has none", [][2]time.Duration{{-1, time.Hour}}, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &watchedConn{began: time.Now()}
				a := newAlarm(c)
				defer a.release()
				for _, w := range tt.waits {
					if w[0] != 0 {
						a.start(w[0])
					}
					<-time.After(w[1])
					synctest.Wait()
					off := a.stop()
					if late := w[0] > 0 && w[1] > w[0]; off != late {
						t.Errorf("a wait of %v that may take %v: it has gone off: %v", w[1], w[0], off)
					}
				}
				if len(c.interrupted) != len(tt.want) {
					t.Fatalf("interrupted at %v, want %v", c.interrupted, tt.want)
				}
				for i := range tt.want {
					if c.interrupted[i] != tt.want[i] {
						t.Errorf("interrupted at %v, want %v", c.interrupted, tt.want)
					}
				}
			})
		})
	}
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A thousand messages a second are sent.
func TestProgress(t *testing.T) {
	drawn := func(text string) string { return fmt.Sprintf("\r%-60s", text) }
	for _, tt := range []struct {
		rule     string
		terminal bool
		run      time.Duration
		want     string
	}{
		{"a short run has none", true, 900 * time.Millisecond, ""},
		{"a terminal has a line that changes", true, 2500 * time.Millisecond,
			drawn("bench: 1000 of 9000, 1000/s") + drawn("bench: 2000 of 9000, 1000/s") + drawn("") + "\r"},
		{"elsewhere there is none in four seconds", false, 4 * time.Second, ""},
		{"elsewhere there is a line every five", false, 11 * time.Second,
			"bench: 5000 of 9000, 1000/s\nbench: 10000 of 9000, 1000/s\n"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				p := &progress{out: &out, terminal: tt.terminal}
				began := time.Now()
				end := p.begin(9000, func() int { return int(time.Since(began).Milliseconds()) })
				<-time.After(tt.run)
				end()
				if out.String() != tt.want {
					t.Errorf("got %q, want %q", out.String(), tt.want)
				}
			})
		})
	}
}

func TestNewProgress_knowsAFileFromATerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if newProgress(file).terminal || newProgress(&bytes.Buffer{}).terminal {
		t.Error("neither is a terminal")
	}
}

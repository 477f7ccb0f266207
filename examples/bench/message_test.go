package main

import (
	"bytes"
	"net/mail"
	"testing"
	"time"
)

func TestNewContent(t *testing.T) {
	sizes := []int{64 << 10, 1 << 20}
	for size := leastSize; size < leastSize+5*lineLength; size++ {
		sizes = append(sizes, size)
	}
	for _, size := range sizes {
		content := newContent(size, time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC))
		if len(content) != size {
			t.Fatalf("%d octets instead of %d", len(content), size)
		}
		if err := checkContent(content); err != nil {
			t.Fatalf("of %d octets: it %v", size, err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if date, err := m.Header.Date(); err != nil || m.Header.Get("From") != "<sender@bench.example>" || date.Year() != 2026 {
			t.Fatalf("header %v: %v", m.Header, err)
		}
		if !bytes.Contains(content, []byte("\r\n\r\n.")) {
			t.Fatalf("no dot begins the text: %q", content)
		}
		for line := range bytes.Lines(content) {
			if len(line) > lineLength || bytes.HasSuffix(line, []byte(" \r\n")) {
				t.Fatalf("line %q", line)
			}
		}
	}
	if n := bytes.Count(newContent(64<<10, time.Now()), []byte("\r\n.")); n < 40 {
		t.Errorf("%d lines of 64 KiB begin with a dot", n)
	}
}

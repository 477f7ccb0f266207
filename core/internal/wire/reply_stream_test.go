package wire_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/core/internal/wire"
)

// dialogue is a stream with everything that a split could break.
const dialogue = "220 hello\r\n250-mx.example.com\r\n250-PIPELINING\r\n250 SIZE 1000\r\n" +
	"250\r\n250-\r\n250 \r\n452-4.5.3 a\r\n452 4.5.3 b\n250 a\rb\r\r\n354 go\r\n"

func TestReplyInAnyNumberOfReads(t *testing.T) {
	want, err := readReplies(strings.NewReader(dialogue))
	if len(want) != 7 || err != io.EOF {
		t.Fatalf("in one read: %d replies, %v", len(want), err)
	}
	check := func(t *testing.T, src io.Reader) {
		t.Helper()
		got, err := readReplies(src)
		equalReplies(t, got, want)
		if err != io.EOF {
			t.Errorf("at the end: %v, want EOF", err)
		}
	}
	t.Run("octet by octet", func(t *testing.T) {
		check(t, iotest.OneByteReader(strings.NewReader(dialogue)))
	})
	t.Run("in halves", func(t *testing.T) {
		check(t, iotest.HalfReader(strings.NewReader(dialogue)))
	})
	t.Run("with EOF beside the last octets", func(t *testing.T) {
		check(t, iotest.DataErrReader(strings.NewReader(dialogue)))
	})
	t.Run("in two parts, wherever the split is", func(t *testing.T) {
		for i := range len(dialogue) {
			check(t, &script{dialogue[:i], dialogue[i:]})
		}
	})
	t.Run("with empty reads between", func(t *testing.T) {
		for i := range len(dialogue) {
			check(t, &script{nil, dialogue[:i], nil, nil, dialogue[i:], nil})
		}
	})
	t.Run("with timeouts between, of which none loses anything", func(t *testing.T) {
		late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
		for i := range len(dialogue) {
			check(t, &script{late, dialogue[:i], late, late, dialogue[i:], late})
		}
	})
}

func TestReplyReportsATimeoutAndGoesOn(t *testing.T) {
	r := wire.NewReader(&script{"250-a\r\n25", os.ErrDeadlineExceeded, "0 b\r\n"})
	if _, err := r.Reply(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want the timeout", err)
	}
	if !r.Partial() {
		t.Error("Partial is false in the middle of a reply")
	}
	if got, err := r.Reply(); err != nil || string(got.Text) != "a\nb" {
		t.Errorf("after the timeout: %q, %v", got.Text, err)
	}
}

func TestReplyRepeatsEveryOtherError(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		src  script
		want error
	}{
		{"the end between replies", script{io.EOF}, io.EOF},
		{"the end within one", script{"250-a\r\n", io.EOF}, io.ErrUnexpectedEOF},
		{"an error of the stream", script{"250-a\r\n", broken}, broken},
		// It has a Timeout method, and yet the connection is lost.
		{"ETIMEDOUT", script{&net.OpError{Op: "read", Err: syscall.ETIMEDOUT}}, syscall.ETIMEDOUT},
		{"differing codes", script{"250-a\r\n550 b\r\n"}, wire.ErrCodeMismatch},
		{"a line too long", script{strings.Repeat("x", wire.MaxLine) + "\r\n"}, wire.ErrLineTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := append(tt.src, "250 c\r\n")
			r := wire.NewReader(&src)
			for range 3 {
				if got, err := r.Reply(); !errors.Is(err, tt.want) {
					t.Errorf("got %q, %v, want %v", got.Text, err, tt.want)
				}
			}
		})
	}

	t.Run("but empty reads that yield something in the end are none", func(t *testing.T) {
		var src script
		for _, octet := range "250 a\r\n" {
			src = append(append(src, make(script, 50)...), string(octet))
		}
		if got, err := wire.NewReader(&src).Reply(); err != nil || string(got.Text) != "a" {
			t.Errorf("got %q, %v", got.Text, err)
		}
	})
	t.Run("a stream that yields nothing for ever", func(t *testing.T) {
		r := wire.NewReader(readerFunc(func([]byte) (int, error) { return 0, nil }))
		for range 3 {
			if _, err := r.Reply(); err != io.ErrNoProgress {
				t.Errorf("got %v, want %v", err, io.ErrNoProgress)
			}
		}
	})
}

func TestBufferedAndPartial(t *testing.T) {
	r := wire.NewReader(&script{"250 a\r\n", "250-b\r\n", os.ErrDeadlineExceeded, "250 c\r\n250 injected\r\n2"})
	state := func(when string, buffered int, partial bool) {
		t.Helper()
		if got := r.Buffered(); got != buffered {
			t.Errorf("%s: Buffered is %d, want %d", when, got, buffered)
		}
		if got := r.Partial(); got != partial {
			t.Errorf("%s: Partial is %t, want %t", when, got, partial)
		}
	}
	state("at first", 0, false)
	r.Reply()
	state("after a reply that came alone", 0, false)
	r.Reply()
	state("after a timeout between two lines", 0, true)
	r.Reply()
	state("B13 after a reply with more behind it", len("250 injected\r\n2"), true)
	r.Reply()
	state("after a reply with the start of the next behind it", 1, true)
}

// A script is a stream that is read step by step: a string is read, an error is
// returned, nil is an empty read. The end is io.EOF.
type script []any

func (s *script) Read(p []byte) (int, error) {
	for len(*s) > 0 {
		switch step := (*s)[0].(type) {
		case string:
			if len(step) > 0 {
				n := copy(p, step)
				(*s)[0] = step[n:]
				return n, nil
			}
			*s = (*s)[1:]
		case error:
			*s = (*s)[1:]
			return 0, step
		case nil:
			*s = (*s)[1:]
			return 0, nil
		}
	}
	return 0, io.EOF
}

// An endlessReader serves the same octets again and again.
type endlessReader struct {
	octets []byte
	next   int
}

func (r *endlessReader) Read(p []byte) (int, error) {
	n := copy(p, r.octets[r.next:])
	r.next = (r.next + n) % len(r.octets)
	return n, nil
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

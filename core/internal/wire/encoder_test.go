package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/internal/wire"
)

// normalise is the rule for line ends in its plainest form: CR, LF and CRLF each
// end a line, and the last line is ended too (RFC 5321 §2.3.8, §4.1.1.4).
func normalise(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// stuff is the rule for dots in its plainest form (RFC 5321 §4.5.2).
func stuff(s string) string {
	var out strings.Builder
	for line := range strings.SplitAfterSeq(normalise(s), "\r\n") {
		if strings.HasPrefix(line, ".") {
			out.WriteString(".")
		}
		out.WriteString(line)
	}
	return out.String() + ".\r\n"
}

// bare describes the first bare CR or bare LF in s, as an error does; it is empty
// if there is none.
func bare(s string) string {
	for i := range len(s) {
		switch {
		case s[i] == '\r' && !strings.HasPrefix(s[i:], "\r\n"):
			return fmt.Sprintf("CR at offset %d", i)
		case s[i] == '\n' && !strings.HasSuffix(s[:i], "\r"):
			return fmt.Sprintf("LF at offset %d", i)
		}
	}
	return ""
}

// encode runs content that comes in parts through e, room octets at a time.
func encode(e *wire.Encoder, room int, parts ...string) (string, error) {
	var out []byte
	dst := make([]byte, 0, room)
	e.Reset()
	for _, part := range parts {
		for src := []byte(part); len(src) > 0; {
			chunk, n, err := e.Encode(dst, src)
			out = append(out, chunk...)
			if err != nil {
				return string(out), err
			}
			if n == 0 && len(chunk) == 0 {
				return string(out), errors.New("no progress")
			}
			src = src[n:]
		}
	}
	end, err := e.Finish(nil)
	if len(end) > wire.FinishRoom {
		return string(out), fmt.Errorf("Finish put out %d octets, want at most %d", len(end), wire.FinishRoom)
	}
	return string(append(out, end...)), err
}

func TestEncoder(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"empty content is the final dot alone (RFC 5321 §4.1.1.4)", "", ".\r\n"},
		{"G14 the final CRLF is added if it lacks (RFC 5321 §4.1.1.4)", "a", "a\r\n.\r\n"},
		{"G14 the final CRLF is not added twice (RFC 5321 §4.1.1.4)", "a\r\n", "a\r\n.\r\n"},
		{"G14 empty lines at the end are kept", "a\r\n\r\n", "a\r\n\r\n.\r\n"},
		{"G14 an empty line alone is kept", "\r\n", "\r\n.\r\n"},
		{"G14 a CR at the end becomes CRLF", "a\r", "a\r\n.\r\n"},
		{"G14 an LF at the end becomes CRLF", "a\n", "a\r\n.\r\n"},

		{"G15 a dot at the start is doubled (RFC 5321 §4.5.2)", ".a\r\n", "..a\r\n.\r\n"},
		{"G15 a dot at the start of a line is doubled", "a\r\n.b\r\n", "a\r\n..b\r\n.\r\n"},
		{"G15 of two dots one is doubled", "..a\r\n", "...a\r\n.\r\n"},
		{"G15 a line that is a dot", "a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"},
		{"G15 content that is a dot", ".", "..\r\n.\r\n"},
		{"G15 a dot elsewhere is not doubled", "a.b.\r\n", "a.b.\r\n.\r\n"},
		{"G15 a dot behind an empty line is doubled", "\r\n.\r\n", "\r\n..\r\n.\r\n"},
		{"G15 dots on every line", ".\r\n.\r\n.\r\n", "..\r\n..\r\n..\r\n.\r\n"},

		{"CR CR LF is two line ends", "a\r\r\nb", "a\r\n\r\nb\r\n.\r\n"},
		{"LF CR is two line ends", "a\n\rb", "a\r\n\r\nb\r\n.\r\n"},
		{"all octets but CR and LF stay as they are", "\x00\x1a\x80\xff\u2028\u0085", "\x00\x1a\x80\xff\u2028\u0085\r\n.\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := encode(&wire.Encoder{Dot: true}, 1024, tt.content)
			if got != tt.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if got := stuff(tt.content); got != tt.want {
				t.Errorf("the reference gives %q, want %q", got, tt.want)
			}
		})
	}
}

// Every content of up to six octets that matter, in two parts split anywhere,
// into every small room, in each mode.
func TestEncoderAgainstTheReference(t *testing.T) {
	const octets = "\r\n.a"
	contents := []string{""}
	for from, length := 0, 1; length <= 6; length++ {
		to := len(contents)
		for _, c := range contents[from:to] {
			for _, octet := range octets {
				contents = append(contents, c+string(octet))
			}
		}
		from = to
	}

	check := func(content string, split, room int, e *wire.Encoder, want string) {
		got, err := encode(e, room, content[:split], content[split:])
		if where := bare(content); e.Refuse && where != "" {
			if !errors.Is(err, wire.ErrBareLineEnd) || !strings.HasSuffix(err.Error(), ": "+where) {
				t.Fatalf("%q split at %d, room %d: got %v, want %v: %s", content, split, room, err, wire.ErrBareLineEnd, where)
			}
			return
		}
		if got != want || err != nil {
			t.Fatalf("%q split at %d, room %d, %+v: got %q, %v, want %q", content, split, room, *e, got, err, want)
		}
		if size := len(normalise(content)); e.Size() != int64(size) {
			t.Fatalf("%q split at %d, room %d: Size is %d, want %d (RFC 1870 §3)", content, split, room, e.Size(), size)
		}
	}
	for _, content := range contents {
		normalised, stuffed := normalise(content), stuff(content)
		for split := range len(content) + 1 {
			for room := 2; room <= 8; room++ {
				for _, refuse := range []bool{false, true} {
					check(content, split, room, &wire.Encoder{Refuse: refuse}, normalised)
					check(content, split, room, &wire.Encoder{Refuse: refuse, Dot: true}, stuffed)
				}
			}
		}
	}
}

// Lines as long as the encoder's look-ahead, give or take a few octets: its
// windows end at every place of a line end.
func TestEncoderAgainstTheReferenceWithLongLines(t *testing.T) {
	for _, end := range []string{"\r\n", "\r\n.", "\n.", "\r.", "\r\r\n", ".\r\n"} {
		for width := 1000; width < 1050; width++ {
			content := strings.Repeat(strings.Repeat("x", width)+end, 3)
			for _, room := range []int{1000, 1024, 32 * 1024} {
				got, err := encode(&wire.Encoder{Dot: true}, room, content)
				if want := stuff(content); got != want || err != nil {
					t.Fatalf("lines of %d octets, each ended by %q, room %d: wrong output, %v", width, end, room, err)
				}
			}
		}
	}
}

// G16: what one server takes for text and the next for the end of the content
// (RFC 5321 §2.3.8, §4.1.1.4).
func TestEncoderLeavesNothingToSmuggle(t *testing.T) {
	for _, tt := range []struct{ name, end string }{
		{"CRLF.CRLF", "\r\n.\r\n"},
		{"LF.LF", "\n.\n"},
		{"LF.CRLF", "\n.\r\n"},
		{"CRLF.LF", "\r\n.\n"},
		{"CR.CR", "\r.\r"},
		{"CR.CRLF", "\r.\r\n"},
		{"CRLF.CR", "\r\n.\r"},
		{"LF.CR", "\n.\r"},
		{"CR.LF", "\r.\n"},
		{"CR CRLF.CRLF", "\r\r\n.\r\n"},
		{"CRLF.CR CRLF", "\r\n.\r\r\n"},
		{"CRLF NUL.CRLF", "\r\n\x00.\r\n"},
		{"CRLF.NUL CRLF", "\r\n.\x00\r\n"},
	} {
		content := "Subject: a\r\n\r\nb" + tt.end + "MAIL FROM:<evil@example.com>\r\n" + tt.end
		t.Run("G16 "+tt.name, func(t *testing.T) {
			for split := range len(content) {
				got, err := encode(&wire.Encoder{Dot: true}, 64, content[:split], content[split:])
				if err != nil {
					t.Fatal(err)
				}
				if where := bare(got); where != "" {
					t.Errorf("split at %d: %q has a bare %s", split, got, where)
				}
				if end := strings.Index(got, "\r\n.\r\n"); end != len(got)-5 {
					t.Errorf("split at %d: %q ends at %d", split, got, end)
				}
			}
		})
		t.Run("G17 "+tt.name+" under BDAT", func(t *testing.T) {
			got, err := encode(&wire.Encoder{}, 64, content)
			if got != normalise(content) || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, normalise(content))
			}
		})
		t.Run("G16 "+tt.name+" refused", func(t *testing.T) {
			_, err := encode(&wire.Encoder{Dot: true, Refuse: true}, 64, content)
			if refused, want := errors.Is(err, wire.ErrBareLineEnd), bare(content) != ""; refused != want {
				t.Errorf("got %v, refused should be %t", err, want)
			}
		})
	}
}

func TestEncoderRefuses(t *testing.T) {
	t.Run("at an offset that counts from the start of the content", func(t *testing.T) {
		line := strings.Repeat("x", 76) + "\r\n"
		_, err := encode(&wire.Encoder{Dot: true, Refuse: true}, 100, strings.Repeat(line, 1000), ".a", "b\rc")
		if err == nil || !strings.HasSuffix(err.Error(), "CR at offset 78003") {
			t.Errorf("got %v, want CR at offset 78003", err)
		}
	})
	t.Run("with nothing put out or consumed from the bare one on", func(t *testing.T) {
		e := wire.Encoder{Refuse: true}
		got, n, err := e.Encode(make([]byte, 0, 64), []byte("a\r\nb\nc"))
		if string(got) != "a\r\nb" || n != 4 || !errors.Is(err, wire.ErrBareLineEnd) {
			t.Errorf("got %q, %d, %v", got, n, err)
		}
	})
}

func TestEncoderKeepsWithinTheRoom(t *testing.T) {
	e := wire.Encoder{Dot: true}
	for _, room := range []int{0, 1} {
		e.Reset()
		got, n, err := e.Encode(make([]byte, 0, room), []byte("a"))
		if len(got) != 0 || n != 0 || err != nil {
			t.Errorf("room %d: got %q, %d, %v, want nothing done", room, got, n, err)
		}
	}
	t.Run("and appends", func(t *testing.T) {
		e.Reset()
		got, n, err := e.Encode(append(make([]byte, 0, 8), "DATA"...), []byte("abcdefg"))
		if string(got) != "DATAabcd" || n != 4 || err != nil {
			t.Errorf("got %q, %d, %v", got, n, err)
		}
	})
}

// There is no clock here: work that grows with the square of the length would
// take the better part of an hour, and the test would be killed.
func TestEncoderDoesLinearWork(t *testing.T) {
	const size = 16 << 20
	for _, tt := range []struct {
		name, unit string
		room       int
	}{
		{"on an endless line, two octets at a time", "x", 2},
		{"on bare CRs without an LF", "x\r", 2 * size},
		{"on bare LFs without a CR", "x\n", 2 * size},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := wire.Encoder{Dot: true}
			dst := make([]byte, 0, tt.room)
			for src := bytes.Repeat([]byte(tt.unit), size/len(tt.unit)); len(src) > 0; {
				_, n, err := e.Encode(dst, src)
				if err != nil {
					t.Fatal(err)
				}
				src = src[n:]
			}
		})
	}
}

func TestEncoderAllocatesNothing(t *testing.T) {
	e := wire.Encoder{Dot: true}
	dst := make([]byte, 0, 1024)
	src := []byte(".a\r\nb\nc\rd")
	if n := testing.AllocsPerRun(1000, func() {
		e.Reset()
		out, _, err := e.Encode(dst, src)
		if err == nil {
			_, err = e.Finish(out)
		}
		if err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

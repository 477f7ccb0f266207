package wire_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/core/internal/wire"
)

// A reply is what a test expects of a wire.Reply.
type reply struct {
	code     int
	enhanced [3]int
	text     string
}

func (r reply) String() string { return fmt.Sprintf("%d %v %q", r.code, r.enhanced, r.text) }

// none is the enhanced code of a reply that has none.
var none [3]int

// readReplies reads src to its end, or to the first error that is not a
// timeout, and returns the replies and that error.
func readReplies(src io.Reader) (replies []reply, err error) {
	r := wire.NewReader(src)
	for {
		got, err := r.Reply()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return replies, err
		default:
			replies = append(replies, reply{got.Code, got.Enhanced(), string(got.Text)})
		}
	}
}

func equalReplies(t *testing.T, got, want []reply) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("reply %d is missing: %v", i, want[i])
		case i >= len(want):
			t.Errorf("reply %d is one too many: %v", i, got[i])
		case got[i] != want[i]:
			t.Errorf("reply %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

// The numbers of these tests and of the next are those of the catalogue of
// hostile servers.
func TestReplySyntax(t *testing.T) {
	for _, tt := range []struct {
		name, stream string
		want         []reply
	}{
		{"a reply is a code and text (RFC 5321 §4.2)",
			"220 mx.example.com ESMTP\r\n", []reply{{220, none, "mx.example.com ESMTP"}}},
		{"a hyphen continues it, and lines are joined by a line feed (RFC 5321 §4.2.1)",
			"250-First line\r\n250-Second line\r\n250-234 Text beginning with numbers\r\n250 The last line\r\n",
			[]reply{{250, none, "First line\nSecond line\n234 Text beginning with numbers\nThe last line"}}},
		{"replies that arrive together are told apart",
			"250 a\r\n550-b\r\n550 c\r\n354 d\r\n", []reply{{250, none, "a"}, {550, none, "b\nc"}, {354, none, "d"}}},
		{"spaces in the text are kept", "250   a  \r\n", []reply{{250, none, "  a  "}}},
		{"a bare LF ends a line as CRLF does", "250-a\n250 b\n", []reply{{250, none, "a\nb"}}},

		{"B5 a bare CR in the text ends nothing", "250 a\r550 b\r\n", []reply{{250, none, "a\r550 b"}}},
		{"B5 CR CR LF ends one line, not two", "250 a\r\r\n550 b\r\n", []reply{{250, none, "a\r"}, {550, none, "b"}}},
		{"B6 octets of any value are kept", "550 \x00\x1b[2J\x80\xff\xc3\x28\r\n", []reply{{550, none, "\x00\x1b[2J\x80\xff\xc3\x28"}}},
		{"B7 a bare code is a reply (RFC 5321 §4.2)", "250\r\n", []reply{{250, none, ""}}},
		{"B7 a code and a space is a reply (RFC 5321 §4.2)", "250 \r\n", []reply{{250, none, ""}}},
		{"B7 a bare code ends a reply of several lines (RFC 5321 §4.2.1)", "250-\r\n250\r\n", []reply{{250, none, "\n"}}},
		{"B7 a code and a space ends a reply of several lines", "250-a\r\n250 \r\n", []reply{{250, none, "a\n"}}},
		{"B10 an enhanced code of another class leaves the code alone (RFC 2034 §4)",
			"550 2.0.0 a\r\n250 5.1.1 b\r\n", []reply{{550, [3]int{2, 0, 0}, "2.0.0 a"}, {250, [3]int{5, 1, 1}, "5.1.1 b"}}},
		{"B11 an enhanced code on the first line alone is taken",
			"550-5.7.1 a\r\n550 b\r\n", []reply{{550, [3]int{5, 7, 1}, "5.7.1 a\nb"}}},
		{"B11 an enhanced code that only a later line has is text",
			"550-a\r\n550 5.7.1 b\r\n", []reply{{550, none, "a\n5.7.1 b"}}},
		{"B14 unknown codes are replies (RFC 5321 §4.3.2)", "299 a\r\n499 b\r\n599 c\r\n258 d\r\n",
			[]reply{{299, none, "a"}, {499, none, "b"}, {599, none, "c"}, {258, none, "d"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readReplies(strings.NewReader(tt.stream))
			equalReplies(t, got, tt.want)
			if err != io.EOF {
				t.Errorf("after the last reply: %v, want EOF", err)
			}
		})
	}
}

func TestReplyErrors(t *testing.T) {
	syntax := new(wire.SyntaxError)
	for _, tt := range []struct {
		name, stream string
		want         error
	}{
		{"B3 codes that differ within a reply are an error (RFC 5321 §4.2.1)", "250-a\r\n550 b\r\n", wire.ErrCodeMismatch},
		{"B3 codes that differ on a continuation line are an error", "250-a\r\n251-b\r\n250 c\r\n", wire.ErrCodeMismatch},
		{"B3 differing codes are an error at once, without waiting for more", "250-a\r\n550-b\r\n", wire.ErrCodeMismatch},
		{"B9 the last line missing is not success", "250-a\r\n", io.ErrUnexpectedEOF},
		{"B9 the last line without its end is not success", "250-a\r\n250 b", io.ErrUnexpectedEOF},
		{"B9 a lone CR does not end the last line", "250 a\r", io.ErrUnexpectedEOF},

		{"A7 first digit below 2 (RFC 5321 §4.2)", "199 a\r\n", syntax},
		{"A7 first digit above 5 (RFC 5321 §4.2)", "600 a\r\n", syntax},
		{"A7 four digits", "2200 a\r\n", syntax},
		{"A7 two digits", "22 a\r\n", syntax},
		{"A7 two digits alone", "22\r\n", syntax},
		{"A7 empty line", "\r\n", syntax},
		{"A7 text", "bogus\r\n", syntax},
		{"A7 an HTTP server", "HTTP/1.1 400 Bad Request\r\n", syntax},
		{"A7 an SSH server", "SSH-2.0-OpenSSH_9.2\r\n", syntax},
		{"A7 a TLS server", "\x16\x03\x03\x00\x0a\n", syntax},
		{"a tab after the code", "250\ta\r\n", syntax},
		{"a space before the code", " 250 a\r\n", syntax},
		{"digits that are not ASCII", "2５0 a\r\n", syntax},
		{"a line without a code inside a reply", "250-a\r\nb\r\n250 c\r\n", syntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readReplies(strings.NewReader(tt.stream))
			equalReplies(t, got, nil)
			if tt.want == syntax {
				if !errors.As(err, new(*wire.SyntaxError)) {
					t.Errorf("got %v, want a SyntaxError", err)
				}
			} else if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}

	t.Run("B6 a line is escaped and cut in the error's text", func(t *testing.T) {
		line := "\x1b[2J\r\x00\xff" + strings.Repeat("x", 1000)
		_, err := readReplies(strings.NewReader(line + "\r\n"))
		var syntaxErr *wire.SyntaxError
		if !errors.As(err, &syntaxErr) || string(syntaxErr.Line) != line[:128] {
			t.Fatalf("got %#v, want a SyntaxError with the first 128 octets", err)
		}
		if i := strings.IndexFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("%q is not printable at %d", err.Error(), i)
		}
	})
}

func TestEnhancedCode(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       [3]int
	}{
		{"class, subject, detail (RFC 3463 §2)", "5.1.1 no such user", [3]int{5, 1, 1}},
		{"without text behind it", "5.1.1", [3]int{5, 1, 1}},
		{"up to three digits", "4.123.999 a", [3]int{4, 123, 999}},
		{"zero is a number", "2.0.0 a", [3]int{2, 0, 0}},

		{"class 3 does not exist (RFC 2034 §4)", "3.1.1 a", none},
		{"two digits of class", "25.1.1 a", none},
		{"B11 two numbers", "5.1 a", none},
		{"B11 two numbers and a dot", "5.1. a", none},
		{"B11 four numbers", "5.1.1.1 a", none},
		{"B11 four digits", "5.1000.1 a", none},
		{"B11 four digits at the end", "5.1.1000 a", none},
		{"B11 a leading zero (RFC 3463 §2)", "5.01.1 a", none},
		{"B11 a leading zero at the end", "5.1.00 a", none},
		{"B11 a negative number", "2.-1.7 a", none},
		{"B11 text glued to it", "5.1.1a", none},
		{"not at the start", " 5.1.1 a", none},
		{"an address", "5.1.1.10 is blocked", none},
		{"no text", "", none},
		{"cut off", "5.1.", none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readReplies(strings.NewReader("550 " + tt.text + "\r\n"))
			equalReplies(t, got, []reply{{550, tt.want, tt.text}})
			if err != io.EOF {
				t.Error(err)
			}
		})
	}
}

func TestReplyIsBounded(t *testing.T) {
	line := func(n int) string { return "250 " + strings.Repeat("x", n-6) + "\r\n" }
	lines := func(n int) string { return strings.Repeat("250-x\r\n", n-1) + "250 x\r\n" }
	text := func(n int) string { // a reply with n octets of text, line feeds included
		const width = 1024
		return strings.Repeat("250-"+strings.Repeat("x", width-1)+"\r\n", n/width-1) +
			"250 " + strings.Repeat("x", width+n%width) + "\r\n"
	}
	for _, tt := range []struct {
		name, stream string
		want         error
		text         int // length of the text, if there is no error
	}{
		{"a line of MaxLine octets", line(wire.MaxLine), nil, wire.MaxLine - 6},
		{"a line of one more", line(wire.MaxLine + 1), wire.ErrLineTooLong, 0},
		{"MaxLine octets without a line end", line(wire.MaxLine + 1)[:wire.MaxLine], wire.ErrLineTooLong, 0},
		{"a line of MaxLine octets behind another", "250-a\r\n" + line(wire.MaxLine), nil, wire.MaxLine - 4},
		{"a line of one more behind another", "250-a\r\n" + line(wire.MaxLine+1), wire.ErrLineTooLong, 0},
		{"a challenge of 12,288 octets (RFC 4954 §4)", line(12288), nil, 12288 - 6},
		{"MaxLines lines", lines(wire.MaxLines), nil, 2*wire.MaxLines - 1},
		{"one line more", lines(wire.MaxLines + 1), wire.ErrTooManyLines, 0},
		{"MaxReply octets of text", text(wire.MaxReply), nil, wire.MaxReply},
		{"one octet more", text(wire.MaxReply + 1), wire.ErrTooLong, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, src := range []io.Reader{
				strings.NewReader(tt.stream),
				iotest.OneByteReader(strings.NewReader(tt.stream)),
			} {
				got, err := wire.NewReader(src).Reply()
				if !errors.Is(err, tt.want) || len(got.Text) != tt.text {
					t.Errorf("got %d octets of text, %v, want %d, %v", len(got.Text), err, tt.text, tt.want)
				}
			}
		})
	}

	for _, tt := range []struct {
		name, start, again string
		want               error
		most               int // octets taken from the stream
	}{
		{"B1 an endless line is given up", "", "x", wire.ErrLineTooLong, wire.MaxLine},
		{"B1 an endless line with a code is given up", "250 ", "x", wire.ErrLineTooLong, wire.MaxLine},
		{"B1 endless CRs are given up", "250 ", "\r", wire.ErrLineTooLong, wire.MaxLine},
		{"B2 endless lines are given up", "", "250-\r\n", wire.ErrTooManyLines, 6*wire.MaxLines + wire.MaxLine},
		{"B2 endless long lines are given up", "", "250-" + strings.Repeat("x", 2000) + "\r\n", wire.ErrTooLong, wire.MaxReply + 2*wire.MaxLine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			taken := 0
			src := io.MultiReader(strings.NewReader(tt.start), &endlessReader{octets: []byte(tt.again)})
			_, err := wire.NewReader(readerFunc(func(p []byte) (int, error) {
				n, err := src.Read(p)
				taken += n
				return n, err
			})).Reply()
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if taken > tt.most {
				t.Errorf("%d octets were taken from the stream, want at most %d", taken, tt.most)
			}
		})
	}
}

func TestReplyAllocatesNothing(t *testing.T) {
	for _, stream := range []string{"250 2.1.0 Ok\r\n", "250-mx.example.com\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"} {
		r := wire.NewReader(&endlessReader{octets: []byte(stream)})
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := r.Reply(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations a reply, want none", stream, n)
		}
	}
}

package wire_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/internal/wire"
)

// command adds a command of one part to g.
func command(g *wire.Group, verb string) error {
	g.Verb(verb)
	return g.End()
}

func TestGroup(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build func(g *wire.Group)
		want  string
	}{
		{"a zero group holds nothing", func(*wire.Group) {}, ""},
		{"a command is its parts and CRLF (RFC 5321 §4.1.1)", func(g *wire.Group) {
			g.Verb("MAIL FROM:<")
			g.Text("a@example.com")
			g.Octets([]byte("> SIZE="))
			g.Int(1000)
			g.End()
		}, "MAIL FROM:<a@example.com> SIZE=1000\r\n"},
		{"commands follow each other in the order written (RFC 2920 §3.1)", func(g *wire.Group) {
			command(g, "MAIL FROM:<>")
			command(g, "RCPT TO:<a@example.com>")
			command(g, "DATA")
		}, "MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"},
		{"numbers are decimal", func(g *wire.Group) {
			g.Verb("X")
			for _, n := range []int64{0, -1, math.MaxInt64, math.MinInt64} {
				g.Text(" ")
				g.Int(n)
			}
			g.End()
		}, "X 0 -1 9223372036854775807 -9223372036854775808\r\n"},
		{"an empty line is a command: an empty response (RFC 4954 §8)", func(g *wire.Group) { command(g, "") }, "\r\n"},
		{"octets outside ASCII stay as they are (RFC 6531 §3.3)",
			func(g *wire.Group) { command(g, "MAIL FROM:<п@пример.рф> SMTPUTF8") }, "MAIL FROM:<п@пример.рф> SMTPUTF8\r\n"},
		{"an unfinished command is not in it", func(g *wire.Group) {
			command(g, "NOOP")
			g.Verb("QUIT")
		}, "NOOP\r\n"},
		{"Verb drops an unfinished command", func(g *wire.Group) {
			command(g, "NOOP")
			g.Verb("MAIL FROM:<")
			g.Text("a@example.com")
			command(g, "QUIT")
		}, "NOOP\r\nQUIT\r\n"},
		{"Reset drops everything", func(g *wire.Group) {
			command(g, "NOOP")
			g.Verb("RSET")
			g.Reset()
			command(g, "QUIT")
		}, "QUIT\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var g wire.Group
			tt.build(&g)
			if got := string(g.Bytes()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// RFC 5321 §2.3.8: CR and LF are line ends and nothing else. §4.1.2 has no place
// for NUL.
func TestGroupRefusesControls(t *testing.T) {
	ways := []struct {
		name string
		add  func(g *wire.Group, s string)
	}{
		{"the verb", func(g *wire.Group, s string) { g.Verb(s) }},
		{"a text", func(g *wire.Group, s string) { g.Verb("X "); g.Text(s); g.Text(">") }},
		{"octets", func(g *wire.Group, s string) { g.Verb("X "); g.Octets([]byte(s)); g.Int(1) }},
	}
	for _, way := range ways {
		for _, bad := range []string{"\r", "\n", "\x00", "\r\n", "\n\r", "\r\nRCPT TO:<evil@example.com>", "\x00\r"} {
			const good = "a@example.com"
			for at := range len(good) + 1 {
				part := good[:at] + bad + good[at:]
				var g wire.Group
				command(&g, "MAIL FROM:<>")
				way.add(&g, part)
				if err := g.End(); !errors.Is(err, wire.ErrControl) {
					t.Errorf("%q in %s: got %v, want %v", part, way.name, err, wire.ErrControl)
				}
				if err := command(&g, "DATA"); err != nil {
					t.Errorf("after %q in %s: %v", part, way.name, err)
				}
				if got, want := string(g.Bytes()), "MAIL FROM:<>\r\nDATA\r\n"; got != want {
					t.Fatalf("%q in %s: the group holds %q, want %q", part, way.name, got, want)
				}
			}
		}
	}

	t.Run("split over two parts", func(t *testing.T) {
		var g wire.Group
		g.Verb("X\r")
		g.Text("\nY")
		if err := g.End(); !errors.Is(err, wire.ErrControl) {
			t.Errorf("got %v, want %v", err, wire.ErrControl)
		}
	})
	t.Run("and keeps nothing that the next parts could extend", func(t *testing.T) {
		var g wire.Group
		command(&g, "X\r")
		g.Text("DATA")
		if err := g.End(); err != nil || string(g.Bytes()) != "DATA\r\n" {
			t.Errorf("the group holds %q, %v, want DATA alone", g.Bytes(), err)
		}
	})
	t.Run("and says where, but not what the command was", func(t *testing.T) {
		var g wire.Group
		err := command(&g, "AUTH PLAIN secret\n")
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "0x0a at offset 17") {
			t.Errorf("got %v, want the octet and its offset alone", err)
		}
	})
}

func TestGroupRefusesLongCommands(t *testing.T) {
	for _, tt := range []struct {
		name   string
		length int // line end included
		want   error
	}{
		{"a line of 512 octets (RFC 5321 §4.5.3.1.4)", 512, nil},
		{"a line of 12,288 octets (RFC 4954 §4)", 12288, nil},
		{"a line of MaxCommand octets", wire.MaxCommand, nil},
		{"one octet more", wire.MaxCommand + 1, wire.ErrCommandTooLong},
		{"far more", 1 << 20, wire.ErrCommandTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var g wire.Group
			command(&g, "NOOP")
			long := strings.Repeat("x", tt.length-len("\r\n"))
			if err := command(&g, long); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			want := "NOOP\r\n" + long + "\r\n"
			if tt.want != nil {
				want = "NOOP\r\n"
			}
			if string(g.Bytes()) != want {
				t.Errorf("the group holds %d octets, want %d", len(g.Bytes()), len(want))
			}
		})
	}

	t.Run("the bound is a command's, not the group's", func(t *testing.T) {
		var g wire.Group
		for range 1000 {
			if err := command(&g, strings.Repeat("x", 1000)); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := len(g.Bytes()), 1000*1002; got != want {
			t.Errorf("the group holds %d octets, want %d", got, want)
		}
	})
}

func TestGroupAllocatesNothingWhenReused(t *testing.T) {
	var g wire.Group
	path := []byte("a@example.com")
	build := func() {
		g.Reset()
		g.Verb("MAIL FROM:<")
		g.Octets(path)
		g.Text("> SIZE=")
		g.Int(1000)
		if err := errors.Join(g.End(), command(&g, "DATA")); err != nil {
			t.Fatal(err)
		}
	}
	build()
	if n := testing.AllocsPerRun(1000, build); n != 0 {
		t.Errorf("%v allocations a group, want none", n)
	}
}

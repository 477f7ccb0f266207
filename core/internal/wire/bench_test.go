package wire_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core/internal/wire"
)

func BenchmarkReply(b *testing.B) {
	var ehlo strings.Builder
	for i := range 49 {
		fmt.Fprintf(&ehlo, "250-XKEYWORD%d some parameters\r\n", i)
	}
	ehlo.WriteString("250 SMTPUTF8\r\n")

	for _, bb := range []struct{ name, reply string }{
		{"success", "250 2.1.0 Ok\r\n"},
		{"EHLO of 50 lines", ehlo.String()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			// One read serves one reply, as it does where nothing is pipelined.
			r := wire.NewReader(&endlessReader{octets: []byte(bb.reply)})
			b.SetBytes(int64(len(bb.reply)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Reply(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncoder(b *testing.B) {
	const dstSize = 32 * 1024 // what a session writes at once
	line := strings.Repeat("x", 76) + "\r\n"
	repeat := func(s string, size int) []byte { return bytes.Repeat([]byte(s), size/len(s)) }

	for _, bb := range []struct {
		name    string
		content []byte
	}{
		{"1 KiB of lines", repeat(line, 1<<10)},
		{"5 MiB of lines", repeat(line, 5<<20)},
		{"5 MiB of lines ended by LF", repeat(line[:76]+"\n", 5<<20)},
		{"5 MiB of lines that begin with a dot", repeat("."+line[1:], 5<<20)},
		{"5 MiB of lines that are a dot", repeat(".\r\n", 5<<20)},
		{"5 MiB of octets each before a bare CR", repeat("x\r", 5<<20)},
		{"5 MiB in one line", repeat("x", 5<<20)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			e := wire.Encoder{Dot: true}
			dst := make([]byte, 0, dstSize)
			b.SetBytes(int64(len(bb.content)))
			b.ReportAllocs()
			for b.Loop() {
				e.Reset()
				for rest := bb.content; len(rest) > 0; {
					_, n, err := e.Encode(dst, rest)
					if err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
				if _, err := e.Finish(dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGroup(b *testing.B) {
	for _, recipients := range []int{1, 100} {
		b.Run(fmt.Sprintf("MAIL and %d RCPT and DATA", recipients), func(b *testing.B) {
			var g wire.Group
			end := func() {
				if err := g.End(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				g.Reset()
				g.Verb("MAIL FROM:<")
				g.Text("sender@example.com")
				g.Text("> SIZE=")
				g.Int(5 << 20)
				end()
				for range recipients {
					g.Verb("RCPT TO:<")
					g.Text("recipient@example.net")
					g.Text(">")
					end()
				}
				g.Verb("DATA")
				end()
			}
		})
	}
}

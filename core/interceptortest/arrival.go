package interceptortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing/iotest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// content is something to be sent.
type content struct {
	name string
	body func() core.Body
	wire string // what it is on the wire, if it is left alone
}

// contents are texts of every kind.
func contents() []content {
	plain, large := text("plain", 0), text("large", 300<<10)
	header, _, _ := strings.Cut(plain, "\r\n\r\n")
	dots := plain + ".\r\n..\r\n.hidden\r\n\r\n.\r\n"
	eightBit := plain + "Gr\xfc\xdfe, \u65e5\u672c\r\n"
	longLine := plain + strings.Repeat("x", 998) + "\r\n"
	var list []content
	for _, c := range []struct{ name, sent, wire string }{
		{"plain text", plain, plain},
		{"dots at the beginning of lines", dots, dots},
		{"8-bit text", eightBit, eightBit},
		{"a line of 998 octets", longLine, longLine},
		{"no line end at the end", strings.TrimSuffix(plain, "\r\n"), plain},
		{"bare line feeds in the text", plain + "one\ntwo\n", plain + "one\r\ntwo\r\n"},
		{"300 KiB", large, large},
		{"a header alone", header + "\r\n", header + "\r\n"},
		{"a text alone", "\r\ntext\r\n", "\r\ntext\r\n"},
		{"nothing", "", ""},
	} {
		list = append(list, content{c.name, func() core.Body { return core.String(c.sent) }, c.wire})
	}
	return list
}

// bodies are bodies of every kind, with a small and with a large text.
func bodies() []content {
	var list []content
	for size, name := range map[int]string{0: "small", 300 << 10: "large"} {
		octets := text("body", size)
		for _, c := range []struct {
			name string
			body func() core.Body
		}{
			{"known size", func() core.Body { return reopened{octets, int64(len(octets))} }},
			{"unknown size", func() core.Body { return reopened{octets, -1} }},
			{"read once", func() core.Body { return core.Reader(iotest.HalfReader(strings.NewReader(octets))) }},
			{"read once, with its end at once", func() core.Body { return core.Reader(iotest.DataErrReader(strings.NewReader(octets))) }},
			{"rendered", func() core.Body { return core.Render(bytes.NewReader([]byte(octets)), 0) }},
			{"of several parts", func() core.Body { return core.Segments(core.String(octets[:20]), reopened{octets[20:], -1}) }},
		} {
			list = append(list, content{name + ", " + c.name, c.body, octets})
		}
	}
	return list
}

// reopened is a body that says nothing of its form.
type reopened struct {
	octets string
	size   int64 // as it says
}

func (b reopened) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(b.octets)), nil
}

func (b reopened) Size() int64 { return b.size }

// arrivalRules are about content.
func arrivalRules() []rule {
	list := rule{name: "messages arrive as they should", cases: eachSession(func(b *bench, s session) { b.arrive(s, contents()) })}
	kinds := rule{name: "bodies of every kind arrive", cases: eachSession(func(b *bench, s session) { b.arrive(s, bodies()) })}
	return []rule{list, kinds, {name: "large content is not held in memory", cases: []testCase{{"", (*bench).stream}}}}
}

// arrive sends one content after the other through one client.
func (b *bench) arrive(s session, list []content) {
	server := b.server(smtptest.ServerOptions{Protocol: s.protocol})
	c := b.client(s.configure(server.Config()), b.interceptor())
	if c == nil {
		return
	}
	arrived := 0
	for _, x := range list {
		m := message("", "bob@example.net")
		m.Body = x.body()
		r := b.send(b.scope.ctx, c, m)
		if !r.back {
			return
		}
		came := server.Messages()[arrived:]
		arrived += len(came)
		b.checkContent(x, m, r, came)
	}
}

// checkContent looks at what became of one message.
func (b *bench) checkContent(x content, m *core.Message, r result, came []smtptest.Message) {
	if r.err != nil {
		may := b.run.config.MayRefuse
		if e, ok := errors.AsType[*core.Error](r.err); may == nil || !ok || e.Reply.Code != 0 || !may(m, r.err) {
			b.foundf("%s: it was not accepted: %v", x.name, r.err)
		}
		if len(came) > 0 {
			b.foundf("%s: the server has it, and the receipt says %s", x.name, outcomes(r.receipt))
		}
		return
	}
	if len(came) != 1 {
		b.foundf("%s: it has arrived %d times", x.name, len(came))
		return
	}
	if err := b.expect(x.wire, came[0].Content); err != nil {
		b.foundf("%s: %v", x.name, err)
	}
}

// expect reports why content is not what it should be.
func (b *bench) expect(sent string, received []byte) error {
	if f := b.run.config.Expect; f != nil {
		return f([]byte(sent), bytes.Clone(received))
	}
	if string(received) != sent {
		return fmt.Errorf("sent %.300q, and received %.300q: %s", sent, received, difference(sent, string(received)))
	}
	return nil
}

func difference(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return fmt.Sprintf("%d and %d octets, the first %d of them the same", len(a), len(b), n)
}

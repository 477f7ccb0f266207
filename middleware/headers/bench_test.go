package headers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/headers"
)

const usual = "From: me@sender.example\r\nTo: you@example.net\r\nSubject: Hello\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"

// BenchmarkContent shows what the interceptor does before the content is sent.
func BenchmarkContent(b *testing.B) {
	text := "\r\n" + strings.Repeat("A line of the text of a message, as long as many lines are in messages.\r\n", 14)
	for _, bb := range []struct {
		name, content string
		config        headers.Config
	}{
		{"nothing to do", usual + dateLine + "Message-ID: <x@y>\r\n" + text, headers.Config{}},
		{"Date and Message-ID", usual + text, headers.Config{}},
		{"and a field by a function", usual + text, headers.Config{Set: []headers.Field{{Name: "X-A", Func: func(*core.Message) string { return "b" }}}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			i := mustNew(b, bb.config)
			f := i.Content(func(context.Context, *core.Content) error { return nil })
			body := core.String(bb.content)
			b.ReportAllocs()
			for b.Loop() {
				if err := f(b.Context(), &core.Content{Body: body}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSend sends on a kept session to a server in the same process, whose
// cost is in the figures: what counts is the difference to "without".
func BenchmarkSend(b *testing.B) {
	for _, chunking := range []bool{true, false} {
		for _, bb := range []struct {
			name string
			list []core.Interceptor
		}{
			{"without", nil},
			{"with", []core.Interceptor{mustNew(b, headers.Config{})}},
		} {
			b.Run(fmt.Sprintf("chunking %t, %s", chunking, bb.name), func(b *testing.B) {
				config := smtptest.NewServer(b, smtptest.ServerOptions{}).Config()
				config.PipelineDepth = 1
				if !chunking {
					config.MaskExtensions = []string{"CHUNKING"}
				}
				client := newClient(b, config, bb.list...)
				m := message(core.String(usual + "\r\nHello.\r\n"))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := client.Send(b.Context(), m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

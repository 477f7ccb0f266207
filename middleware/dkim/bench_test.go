package dkim_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
)

// BenchmarkSend shows what the interceptor adds to a Send: the content chain
// runs, and nothing is sent behind it.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 5 << 20} {
		body := core.Bytes(append([]byte(header+"\r\n"), bytes.Repeat([]byte("A line of the text of a message, as long as many lines are in messages.\r\n"), size/73)...))
		for _, bb := range []struct {
			name       string
			signatures []dkim.Signature
		}{
			{"rsa 2048", []dkim.Signature{rsaSignature()}},
			{"ed25519", []dkim.Signature{edSignature()}},
			{"both", []dkim.Signature{rsaSignature(), edSignature()}},
		} {
			b.Run(fmt.Sprintf("%d KiB, %s", size>>10, bb.name), func(b *testing.B) {
				benchmark(b, body, dkim.Config{Signatures: bb.signatures})
			})
		}
	}
}

// BenchmarkChoice shows what it costs to choose signatures and keys.
func BenchmarkChoice(b *testing.B) {
	body := core.String(header + "\r\n" + strings.Repeat("A line of the text.\r\n", 50))
	path := filepath.Join(b.TempDir(), "s1.pem")
	write(b, path, numbered(1))
	source, err := dkim.KeyFile(path)
	if err != nil {
		b.Fatal(err)
	}
	for name, config := range map[string]dkim.Config{
		"none":     {Signatures: []dkim.Signature{edSignature()}},
		"domains":  {Domains: map[string][]dkim.Signature{"example.com": {edSignature()}}},
		"key file": {Signatures: []dkim.Signature{{Domain: "example.com", Key: source}}},
		"select": {Select: func(context.Context, string) ([]dkim.Signature, error) {
			return []dkim.Signature{edSignature()}, nil
		}},
	} {
		b.Run(name, func(b *testing.B) { benchmark(b, body, config) })
	}
}

func benchmark(b *testing.B, body core.Body, config dkim.Config) {
	i := mustNew(b, config)
	f := i.Content(func(context.Context, *core.Content) error { return nil })
	b.SetBytes(body.Size())
	b.ReportAllocs()
	for b.Loop() {
		c := &core.Content{Body: body}
		if err := f(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

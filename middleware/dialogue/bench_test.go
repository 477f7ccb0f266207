package dialogue_test

import (
	"io"
	"log/slog"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dialogue"
)

// BenchmarkSend sends one message on a kept session to a server in the same
// process, whose cost is in the figures: what counts is the difference to
// "without".
func BenchmarkSend(b *testing.B) {
	for _, setup := range []struct {
		name   string
		config *dialogue.Config
	}{
		{"without", nil},
		{"writer", &dialogue.Config{Writer: io.Discard}},
		{"logger that is disabled", &dialogue.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}},
	} {
		b.Run(setup.name, func(b *testing.B) {
			config := smtptest.NewServer(b, smtptest.ServerOptions{}).Config()
			if setup.config != nil {
				i, err := dialogue.New(*setup.config)
				if err != nil {
					b.Fatal(err)
				}
				config.Interceptors = []core.Interceptor{i}
			}
			client, err := core.NewClient(config)
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			m := &core.Message{From: "a@example.com", To: core.Recipients("b@example.net"), Body: core.String("Subject: x\r\n\r\nhello\r\n")}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Send(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

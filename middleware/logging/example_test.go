package logging_test

import (
	"context"
	"log"
	"log/slog"
	"os"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/logging"
)

func Example() {
	server, err := smtptest.StartServer(smtptest.ServerOptions{
		Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
			if to.Address == "nobody@example.net" {
				return smtptest.Reply("550 5.1.1 no such mailbox: " + to.Address)
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	// Any handler will do. This one leaves out what is different each time, and
	// the counts.
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case "time", "duration", "server.address", "server.port", "network.peer.address", "network.protocol.name", "postrider.server.domain",
			"postrider.recipients.total", "postrider.recipients.deferred", "postrider.recipients.unknown":
			return slog.Attr{}
		}
		return a
	}})
	record, err := logging.New(logging.Config{Logger: slog.New(handler)})
	if err != nil {
		log.Fatal(err)
	}
	config := server.Config()
	config.Interceptors = []core.Interceptor{record} // the first is the outermost
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	for _, to := range []string{"you@example.net", "nobody@example.net"} {
		_, _ = client.Send(context.Background(), &core.Message{
			From: "me@example.com", To: core.Recipients(to), Body: core.String("Subject: Hello\r\n\r\nHello.\r\n"),
		})
	}
	// Output:
	// level=INFO msg="smtp delivery" postrider.delivery.attempts=1 postrider.recipients.accepted=1 postrider.recipients.refused=0 postrider.reply.code=250 postrider.reply.enhanced_code=2.0.0
	// level=ERROR msg="smtp delivery" postrider.delivery.attempts=1 postrider.recipients.accepted=0 postrider.recipients.refused=1 postrider.reply.code=550 postrider.reply.enhanced_code=5.1.1 postrider.error.stage=rcpt postrider.error.class=permanent error="recipient refused"
}

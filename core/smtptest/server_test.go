package smtptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// clientOf returns a client of the server, which is closed when the test ends.
func clientOf(t *testing.T, server *smtptest.Server, change ...func(*core.Config)) *core.Client {
	t.Helper()
	config := server.Config()
	for _, f := range change {
		f(&config)
	}
	client, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// message is to the given recipients.
func message(to ...string) *core.Message {
	return &core.Message{From: "alice@example.com", To: core.Recipients(to...), Body: core.String("Subject: hi\r\n\r\nhi\r\n")}
}

// outcomes is a receipt in short.
func outcomes(r *core.Receipt) string {
	var list []string
	for _, x := range r.Recipients {
		list = append(list, x.Outcome.String()+" "+x.Reply.String())
	}
	return strings.Join(list, "; ")
}

func TestServer_keepsWhatItGot(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{DSN: true})
	const content = "Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\xe9\r\n"
	receipt, err := clientOf(t, server).Send(t.Context(), &core.Message{
		From:   "alice@example.com",
		Params: []core.Param{core.Parameter("DSN", "RET", "HDRS"), core.Parameter("DSN", "ENVID", "a+2Bb")},
		To: []core.Recipient{
			{Address: "bob@example.net", Params: []core.Param{core.Parameter("DSN", "NOTIFY", "FAILURE,DELAY"), core.Parameter("DSN", "ORCPT", "rfc822;b@example.org")}},
			{Address: "carol@example.net"},
		},
		Body: core.String(content),
	})
	if err != nil {
		t.Fatal(err)
	}
	messages := server.Messages()
	if len(messages) != 1 {
		t.Fatalf("%d messages", len(messages))
	}
	m := messages[0]
	if string(m.Content) != content {
		t.Errorf("content %q", m.Content)
	}
	if m.From != "alice@example.com" || m.Hello != "client.example" || m.Connection != 1 || m.TLS != nil || m.User != "" {
		t.Errorf("envelope %+v", m.Envelope)
	}
	if want := map[string]string{"RET": "HDRS", "ENVID": "a+b", "BODY": "8BITMIME", "SIZE": fmt.Sprint(len(content))}; !maps.Equal(m.Params, want) {
		t.Errorf("parameters %v, want %v", m.Params, want)
	}
	if got, want := fmt.Sprint(m.To), "[bob@example.net NOTIFY=FAILURE,DELAY ORCPT=rfc822;b@example.org carol@example.net]"; got != want {
		t.Errorf("recipients %s, want %s", got, want)
	}
	if id := receipt.QueueID(); id != m.ID || id == "" {
		t.Errorf("the client was told ID %q, the message has %q", id, m.ID)
	}
}

func TestServer_refuses(t *testing.T) {
	sender := func(e smtptest.Envelope) *core.Reply {
		if e.From == "alice@example.com" {
			return smtptest.Reply("550 5.7.1 not alice")
		}
		return nil
	}
	recipient := func(e smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		switch {
		case strings.HasPrefix(to.Address, "nobody@"):
			return smtptest.Reply("550 5.1.1 no such mailbox")
		case len(e.To) == 2:
			return smtptest.Reply("452 4.5.3 two will do")
		}
		return nil
	}
	for _, tt := range []struct {
		rule     string
		options  smtptest.ServerOptions
		outcomes string
		kept     string
	}{
		{"nobody without functions", smtptest.ServerOptions{}, "accepted 250 2.0.0 queued as Q1; accepted 250 2.0.0 queued as Q1", "[nobody@example.net bob@example.net]"},
		{"a sender", smtptest.ServerOptions{Mail: sender}, "refused 550 5.7.1 not alice; refused 550 5.7.1 not alice", ""},
		{"a recipient", smtptest.ServerOptions{Rcpt: recipient}, "refused 550 5.1.1 no such mailbox; accepted 250 2.0.0 queued as Q1", "[bob@example.net]"},
		{"content", smtptest.ServerOptions{Content: func(m smtptest.Message) *core.Reply { return smtptest.Reply("554 5.6.0 spam") }}, "refused 554 5.6.0 spam; refused 554 5.6.0 spam", ""},
		{"nothing, with a reply of one's own", smtptest.ServerOptions{Content: func(m smtptest.Message) *core.Reply { return smtptest.Reply("250 2.0.0 queued as 7F") }},
			"accepted 250 2.0.0 queued as 7F; accepted 250 2.0.0 queued as 7F", "[nobody@example.net bob@example.net]"},
		{"with a reply made by hand", smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
			return &core.Reply{Code: 550, Enhanced: core.EnhancedCode{5, 7, 1}, Text: "no\nway"}
		}}, "refused 550 5.7.1 no / 5.7.1 way; refused 550 5.7.1 no / 5.7.1 way", ""},
		{"one recipient after another under LMTP", smtptest.ServerOptions{Protocol: core.LMTP, Deliver: func(m smtptest.Message, to smtptest.Recipient) *core.Reply {
			if to.Address == "nobody@example.net" {
				return smtptest.Reply("452 4.2.2 full")
			}
			return nil
		}}, "deferred 452 <nobody@example.net> 4.2.2 full; accepted 250 <bob@example.net> 2.0.0 queued as Q1", "[bob@example.net]"},
		{"all recipients under LMTP", smtptest.ServerOptions{Protocol: core.LMTP, Content: func(smtptest.Message) *core.Reply { return smtptest.Reply("451 later") }},
			"deferred 451 <nobody@example.net> later; deferred 451 <bob@example.net> later", ""},
		{"a message over the limit", smtptest.ServerOptions{MaxSize: 10}, "", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			server := smtptest.NewServer(t, tt.options)
			receipt, err := clientOf(t, server).Send(t.Context(), message("nobody@example.net", "bob@example.net"))
			if got := outcomes(receipt); tt.outcomes != "" && got != tt.outcomes {
				t.Errorf("outcomes %s, want %s: %v", got, tt.outcomes, err)
			}
			kept := ""
			for _, m := range server.Messages() {
				kept += fmt.Sprint(m.To)
			}
			if kept != tt.kept {
				t.Errorf("kept %s, want %s", kept, tt.kept)
			}
		})
	}
}

// A mailbox that is named twice has two replies.
func TestServer_theSameRecipientTwiceUnderLMTP(t *testing.T) {
	n := 0
	server := smtptest.NewServer(t, smtptest.ServerOptions{Protocol: core.LMTP, Deliver: func(smtptest.Message, smtptest.Recipient) *core.Reply {
		if n++; n == 2 {
			return smtptest.Reply("452 4.2.2 full")
		}
		return nil
	}})
	receipt, _ := clientOf(t, server).Send(t.Context(), message("bob@example.net", "bob@example.net"))
	if receipt.Recipients[0].Outcome != core.Accepted || receipt.Recipients[1].Outcome != core.Deferred {
		t.Error(outcomes(receipt))
	}
}

func TestServer_saysGoodbyeWith421(t *testing.T) {
	for _, options := range []smtptest.ServerOptions{{}, {StartTLS: true}} {
		first := true
		options.Rcpt = func(e smtptest.Envelope, to smtptest.Recipient) *core.Reply {
			if first {
				first = false
				return smtptest.Reply("421 4.3.2 shutting down")
			}
			return nil
		}
		server := smtptest.NewServer(t, options)
		client := clientOf(t, server)
		receipt, err := client.Send(t.Context(), message("bob@example.net"))
		if got := outcomes(receipt); got != "deferred 421 4.3.2 shutting down" {
			t.Errorf("%s: %v", got, err)
		}
		if _, err := client.Send(t.Context(), message("bob@example.net")); err != nil {
			t.Fatal(err)
		}
		if m := server.Messages(); m[0].Connection != 2 {
			t.Errorf("on connection %d", m[0].Connection)
		}
	}
}

// What a client has sent ahead, behind what is refused with 421, is not done: it
// may send that again on another connection.
func TestServer_doesNothingBehind421(t *testing.T) {
	var refused atomic.Bool
	server := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply {
		if refused.CompareAndSwap(false, true) {
			return smtptest.Reply("421 4.3.2 shutting down")
		}
		return nil
	}})
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL(), "smtp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const envelope = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nBDAT 4 LAST\r\nhi\r\n"
	if _, err := io.WriteString(conn, "EHLO client.example\r\n"+envelope+"RSET\r\n"+envelope); err != nil {
		t.Fatal(err)
	}
	all, _ := io.ReadAll(conn)
	if m := server.Messages(); len(m) > 0 || !strings.Contains(string(all), "421 4.3.2 shutting down") {
		t.Errorf("it has %d messages and says\n%s", len(m), all)
	}
}

func TestServer_manyClients(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	const n = 20
	var sending sync.WaitGroup
	for i := range n {
		client := clientOf(t, server)
		sending.Go(func() {
			if _, err := client.Send(t.Context(), message(fmt.Sprintf("r%d@example.net", i))); err != nil {
				t.Error(err)
			}
		})
	}
	messages, err := server.Wait(t.Context(), n)
	sending.Wait()
	if err != nil {
		t.Fatal(err)
	}
	to, connections, ids := map[string]bool{}, map[int]bool{}, map[string]bool{}
	for _, m := range messages {
		to[m.To[0].Address], connections[m.Connection], ids[m.ID] = true, true, true
	}
	if len(to) != n || len(connections) != n || len(ids) != n {
		t.Errorf("%d recipients, %d connections, %d IDs of %d", len(to), len(connections), len(ids), n)
	}
}

func TestServer_Wait(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	if _, err := clientOf(t, server).Send(t.Context(), message("bob@example.net")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	messages, err := server.Wait(ctx, 2)
	if len(messages) != 1 || !errors.Is(err, why) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("%d messages, %v", len(messages), err)
	}
}

// A function that blocks makes its client wait, and nobody else.
func TestServer_functionsMayBlock(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(m smtptest.Message) *core.Reply {
		if m.To[0].Address == "slow@example.net" {
			close(entered)
			<-leave
		}
		return nil
	}})
	client := clientOf(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *core.Receipt)
	go func() {
		receipt, _ := client.Send(ctx, message("slow@example.net"))
		done <- receipt
	}()
	<-entered
	if _, err := client.Send(t.Context(), message("bob@example.net")); err != nil {
		t.Error(err)
	}
	cancel()
	if receipt := <-done; receipt.Recipients[0].Outcome != core.Unknown {
		t.Error(outcomes(receipt))
	}
	close(leave)
}

// The URL works with the transports that programs use.
func TestServer_URL(t *testing.T) {
	for _, options := range []smtptest.ServerOptions{{}, {StartTLS: true}, {ImplicitTLS: true}, {Protocol: core.LMTP}} {
		server := smtptest.NewServer(t, options)
		client, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: server.URL(), Transports: transport.Standard(), TLS: server.Config().TLS}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Send(t.Context(), message("bob@example.net")); err != nil {
			t.Errorf("%s: %v", server.URL(), err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestServer_Close(t *testing.T) {
	t.Run("it closes what clients keep open", func(t *testing.T) {
		server, err := smtptest.StartServer(smtptest.ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := core.Dial(t.Context(), server.Config())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Noop(t.Context()); !errors.Is(err, core.ErrDisconnected) {
			t.Error(err)
		}
		if _, err := core.Dial(t.Context(), server.Config()); !errors.Is(err, core.ErrDisconnected) {
			t.Error(err)
		}
	})
	t.Run("content that breaks off is not kept", func(t *testing.T) {
		server := smtptest.NewServer(t, smtptest.ServerOptions{})
		m := message("bob@example.net")
		m.Body = core.Reader(strings.NewReader("short"))
		m.Body = declared{m.Body, 100}
		if _, err := clientOf(t, server).Send(t.Context(), m); err == nil {
			t.Error("no error")
		}
		if err := server.Close(); err != nil || len(server.Messages()) != 0 {
			t.Error(err, server.Messages())
		}
	})
}

// declared is a body that says a size of its own.
type declared struct {
	core.Body
	size int64
}

func (d declared) Size() int64 { return d.size }

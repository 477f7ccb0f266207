package plugintest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/internal/remote"
	"github.com/postrider/postrider/plugins/internal/serve"
	"github.com/postrider/postrider/plugins/sdk"
)

// Interceptor returns an interceptor as a host has it that runs a in a plugin: through
// the wire protocol, but in this process and until the end of the test. It can be
// given to interceptortest.Run.
func Interceptor(t testing.TB, a sdk.Admitter) core.Interceptor {
	t.Helper()
	p := &serve.Plugin{}
	sdk.Interceptor("interceptor", a).AddTo(p)
	link, _ := connect(t, p)
	return remote.NewInterceptor(link, "in-memory", "interceptor", sdk.Logger())
}

// intercepts has an interceptor decide about messages, whatever it decides.
func (k *kit) intercepts(t *testing.T, name string) {
	p := k.start(t)
	pid := p.Status().PID
	c := k.correspond(t, p, name)
	t.Run("it decides about many messages at a time", func(t *testing.T) {
		var sending sync.WaitGroup
		for range many {
			sending.Go(func() { c.decide(t, "a usual message", usual()) })
		}
		sending.Wait()
	})
	t.Run("it decides about odd envelopes", func(t *testing.T) {
		for what, m := range odd() {
			c.decide(t, what, m)
		}
	})
	t.Run("another process of it decides the same", func(t *testing.T) {
		one, other := k.correspond(t, k.start(t), name), k.correspond(t, k.start(t), name)
		if a, b := one.decide(t, "a usual message", usual()), other.decide(t, "a usual message", usual()); a != b {
			t.Errorf("%s, and another one %s", a, b)
		}
	})
	if now := p.Status().PID; now != pid {
		t.Errorf("process %d has become process %d", pid, now)
	}
	if strings.Contains(k.log.String(), "the plugin was not told what became of a delivery") {
		t.Errorf("it does not take each report; its log:\n%s", &k.log)
	}
}

// correspondent is a client that has an interceptor, and the server that it sends to.
type correspondent struct {
	client *core.Client
	server *smtptest.Server
}

// correspond makes a client that has an interceptor of a plugin.
func (k *kit) correspond(t *testing.T, p *plugins.Plugin, name string) *correspondent {
	t.Helper()
	i, err := p.Interceptor(name)
	if err != nil {
		t.Fatal(err)
	}
	server := smtptest.NewServer(t, smtptest.ServerOptions{SMTPUTF8: true, DSN: true})
	config := server.Config()
	config.Interceptors = []core.Interceptor{i}
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &correspondent{client, server}
}

// decide sends a message, and returns what became of it. The plugin may refuse, but
// not fail.
func (c *correspondent) decide(t *testing.T, what string, m *core.Message) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	receipt, err := c.client.Send(ctx, m)
	if _, ok := errors.AsType[*plugins.Error](err); ok || err != nil && strings.Contains(err.Error(), "it panicked") {
		t.Errorf("%s: %v", what, err)
	}
	var became strings.Builder
	for _, r := range receipt.Recipients {
		fmt.Fprintf(&became, "%s is %s, ", r.Address, r.Outcome)
	}
	if receipt.Count(core.Accepted) > 0 {
		for _, arrived := range c.server.Messages() {
			if arrived.ID == receipt.QueueID() {
				fmt.Fprintf(&became, "sent from <%s> to %v", arrived.From, arrived.To)
			}
		}
	}
	return became.String()
}

func usual() *core.Message {
	return &core.Message{
		From: "alice@example.com", To: core.Recipients("bob@example.net", "carol@example.net"),
		Body: core.String("From: alice@example.com\r\nTo: bob@example.net, carol@example.net\r\nSubject: hello\r\n\r\nhi\r\n"),
	}
}

// odd returns messages that are valid, by what is odd about them.
func odd() map[string]*core.Message {
	list := make(map[string]*core.Message)
	add := func(what string, change func(m *core.Message)) {
		m := usual()
		change(m)
		list[what] = m
	}
	to := func(addresses ...string) func(m *core.Message) {
		return func(m *core.Message) { m.To = core.Recipients(addresses...) }
	}
	add("the null reverse-path", func(m *core.Message) { m.From = "" })
	add("addresses that need SMTPUTF8", func(m *core.Message) {
		m.From = "älice@bücher.example"
		to("δοκιμή@παράδειγμα.example")(m)
	})
	add("a quoted local part", to(`"a b@\"c"@example.net`))
	add("an address literal", to("bob@[127.0.0.1]"))
	add("postmaster without a domain", to("postmaster"))
	add("an address of 254 octets", to(strings.Repeat("b", 64)+"@"+strings.Repeat("label.", 31)+"net"))
	add("the same recipient twice", to("bob@example.net", "bob@example.net"))
	add("500 recipients", func(m *core.Message) {
		m.To = nil
		for n := range 500 {
			m.To = append(m.To, core.Recipient{Address: fmt.Sprintf("bob%d@example.net", n)})
		}
	})
	add("parameters", func(m *core.Message) {
		m.Params = []core.Param{core.EnvelopeID("QQ+314159"), core.ReturnHeaders()}
		m.To[0].Params = []core.Param{core.NotifyNever()}
	})
	add("content of unknown size", func(m *core.Message) { m.Body = core.Reader(strings.NewReader("Subject: hello\r\n\r\nhi\r\n")) })
	add("no content", func(m *core.Message) { m.Body = core.String("") })
	return list
}

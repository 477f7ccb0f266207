package core_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/internal/realserver"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// spy notes the commands of every exchange.
func spy(seen *[]string) core.Interceptor {
	return core.Interceptor{Name: "spy", Exchange: spyExchange(seen)}
}

// reaches returns a client of a real server without AUTH.
func reaches(t *testing.T, endpoint string, change ...func(*core.Config)) *core.Client {
	t.Helper()
	config := core.Config{Endpoint: endpoint, Transports: transport.Standard(), LocalName: "client.example.test"}
	for _, f := range change {
		f(&config)
	}
	c, err := core.NewClient(smtptest.AtDepth(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// bodies are the same content as the ways that lead it through the client.
func bodies(t *testing.T, content []byte) map[string]core.Body {
	return map[string]core.Body{
		"inline chunk": core.Bytes(content[:bytes.Index(content, []byte("\r\n\r\n"))+4+300]),
		"large chunk":  core.Bytes(content),
		"many chunks":  core.Reader(bytes.NewReader(content)),
		"file":         core.File(writeFile(t, content)),
	}
}

type mailServer interface {
	WaitMessages(t testing.TB, mailbox string, n int) [][]byte
}

// arrives sends each body and compares what arrives.
func arrives(t *testing.T, c *core.Client, server mailServer, name string, bodies map[string]core.Body, content []byte) {
	t.Helper()
	for kind, body := range bodies {
		t.Run(name+", "+kind, func(t *testing.T) {
			to := strings.ReplaceAll(name+"."+kind, " ", "-") + "@example.test"
			receipt, err := c.Send(t.Context(), &core.Message{From: "a@example.test", To: core.Recipients(to), Body: body})
			if err != nil {
				t.Fatal(err)
			}
			if receipt.Attempts != 1 {
				t.Errorf("%d attempts", receipt.Attempts)
			}
			want := content
			if n := body.Size(); n >= 0 {
				want = content[:n]
			}
			if !bytes.HasSuffix(want, []byte("\r\n")) {
				want = append(bytes.Clone(want), "\r\n"...)
			}
			got, err := realserver.Content(server.WaitMessages(t, to, 1)[0])
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d octets arrived that are not the %d that were sent: %v", len(got), len(want), err)
			}
		})
	}
}

func TestExim(t *testing.T) {
	e := realserver.StartExim(t)
	content := awkward("exim")
	required := func(c *core.Config) { c.TLSPolicy, c.TLS = core.TLSRequired, &tls.Config{RootCAs: e.RootCAs} }
	masked := func(c *core.Config) { c.MaskExtensions = []string{"CHUNKING"} }
	arrives(t, reaches(t, "smtp://"+e.Addr), e, "bdat", bodies(t, content), content)
	arrives(t, reaches(t, "smtp://"+e.Addr, masked), e, "data", bodies(t, content), content)
	arrives(t, reaches(t, "smtp://"+e.Addr, required), e, "starttls", bodies(t, content), content)
	arrives(t, reaches(t, "smtps://"+e.TLSAddr, required), e, "implicit", bodies(t, content), content)
}

func TestExim_PRDR_R5(t *testing.T) {
	e := realserver.StartExim(t)
	good := "prdr@" + e.Domain
	for _, masked := range [][]string{nil, {"CHUNKING"}} {
		t.Run(fmt.Sprintf("without %v", masked), func(t *testing.T) {
			var seen []string
			c := reaches(t, "smtp://"+e.Addr, func(c *core.Config) { c.MaskExtensions, c.Interceptors = masked, []core.Interceptor{spy(&seen)} })
			m := &core.Message{
				From: "a@example.test", PerRecipient: true, Body: core.String("Subject: x\r\n\r\nhi\r\n"),
				To: core.Recipients(good, realserver.PRDRRefusedRecipient, realserver.RefusedRecipient, realserver.PRDRDeferredRecipient, good),
			}
			receipt, err := c.Send(t.Context(), m)
			if got, want := outcomes(receipt), "accepted 250; refused 550; refused 550; deferred 450; accepted 250"; codes(got) != codes(want) {
				t.Errorf("outcomes %q, want %q: %v\n%s", got, want, err, e.Log())
			}
			if all := strings.Join(seen, "\n"); !strings.Contains(all, " PRDR") || strings.Contains(all, "BDAT") != (masked == nil) {
				t.Errorf("said\n%s", all)
			}
			m.Body = core.String("Subject: x\r\n" + realserver.RefusedField + "yes\r\n\r\nhi\r\n")
			receipt, err = c.Send(t.Context(), m)
			if receipt.Count(core.Accepted) != 0 || receipt.Recipients[0].Reply.Code != 554 {
				t.Errorf("outcomes %q though the last reply was a refusal: %v", outcomes(receipt), err)
			}
		})
	}
	e.WaitMessages(t, good, 2)
}

// codes drops the enhanced codes from outcomes.
func codes(outcomes string) string {
	var list []string
	for o := range strings.SplitSeq(outcomes, "; ") {
		f := strings.Fields(o)
		list = append(list, strings.Join(f[:min(2, len(f))], " "))
	}
	return strings.Join(list, "; ")
}

func TestSMTPUTF8_onRealServers(t *testing.T) {
	p, e := realserver.StartPostfix(t), realserver.StartExim(t)
	for name, server := range map[string]struct {
		client *core.Client
		mailServer
	}{
		"Postfix": {toPostfix(t, p, "smtp://"+p.Addr), p},
		"Exim":    {reaches(t, "smtp://"+e.Addr), e},
	} {
		t.Run(name, func(t *testing.T) {
			content := "From: <a@example.test>\r\nSubject: Grüße\r\n\r\nnaïve\r\n"
			to := "jürgen@example.test"
			receipt, err := server.client.Send(t.Context(), &core.Message{From: "größe@example.test", To: core.Recipients(to), Body: core.String(content)})
			if err != nil {
				t.Fatal(outcomes(receipt), err)
			}
			if got, err := realserver.Content(server.WaitMessages(t, to, 1)[0]); string(got) != content {
				t.Errorf("arrived %q: %v", got, err)
			}
		})
	}
}

func TestDSN_onPostfix(t *testing.T) {
	p := realserver.StartPostfix(t)
	c := toPostfix(t, p, "smtp://"+p.Addr)
	to := "dsn@" + p.Domain
	m := &core.Message{
		From: "dsn-sender@" + p.Domain, Params: []core.Param{core.ReturnHeaders(), core.EnvelopeID("a+b=c d")},
		To:   []core.Recipient{{Address: to, Params: []core.Param{core.Notify(core.OnSuccess, core.OnFailure), core.OriginalRecipient("was+me@example.test")}}},
		Body: core.String("Subject: x\r\n\r\nhi\r\n"),
	}
	if _, err := c.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	report := string(p.WaitMessages(t, m.From, 1)[0])
	for _, want := range []string{"Original-Envelope-Id: a+b=c d", "Original-Recipient: rfc822;was+me@example.test", "Action: delivered"} {
		if !strings.Contains(strings.ReplaceAll(report, "rfc822; ", "rfc822;"), want) && !strings.Contains(report, core.XText(want)) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
}

func TestDovecot(t *testing.T) {
	d := realserver.StartDovecot(t)
	content := awkward("dovecot")
	masked := func(c *core.Config) { c.MaskExtensions = []string{"CHUNKING"} }
	arrives(t, reaches(t, "lmtp://"+d.Addr), d, "bdat", bodies(t, content), content)
	arrives(t, reaches(t, "lmtp://"+d.Addr, masked), d, "data", bodies(t, content), content)
	arrives(t, reaches(t, "lmtp+unix://"+d.Socket), d, "socket", bodies(t, content), content)
}

func TestDovecot_threeOutcomesInOneTransaction_I1_I9_R7(t *testing.T) {
	d := realserver.StartDovecot(t)
	alice := "alice@" + d.Domain
	for name, endpoint := range map[string]string{"tcp": "lmtp://" + d.Addr, "unix": "lmtp+unix://" + d.Socket} {
		for _, masked := range [][]string{nil, {"CHUNKING"}} {
			t.Run(fmt.Sprintf("%s without %v", name, masked), func(t *testing.T) {
				c := reaches(t, endpoint, func(c *core.Config) { c.MaskExtensions = masked })
				for range 2 { // on one session
					receipt, err := c.Send(t.Context(), &core.Message{
						From: "a@example.test", Body: core.String("Subject: x\r\n\r\nhi\r\n"),
						To: core.Recipients(alice, realserver.RefusedRecipient, realserver.FullRecipient, realserver.BrokenRecipient, alice),
					})
					if got, want := outcomes(receipt), "accepted 250 2.0.0; refused 550 5.1.1; refused 552 5.2.2; deferred 451 4.2.0; accepted 250 2.0.0"; got != want {
						t.Errorf("outcomes %q, want %q: %v", got, want, err)
					}
				}
			})
		}
	}
}

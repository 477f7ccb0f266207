package plugintest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/interceptortest"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/plugins/plugintest"
	"github.com/postrider/postrider/plugins/sdk"
)

// policy is an interceptor that decides by the address, and remembers what it hears.
type policy struct {
	changes sdk.Changes
	err     error
	asked   chan *sdk.Message
	heard   chan *sdk.Report
}

func newPolicy() *policy {
	return &policy{asked: make(chan *sdk.Message, 1000), heard: make(chan *sdk.Report, 1000)}
}

func (p *policy) Admit(_ context.Context, m *sdk.Message) (sdk.Changes, error) {
	select {
	case p.asked <- m:
	default:
	}
	return p.changes, p.err
}

func (p *policy) Report(_ context.Context, r *sdk.Report) {
	select {
	case p.heard <- r:
	default:
	}
}

// The rules that every interceptor keeps, through the wire protocol.
func TestInterceptor(t *testing.T) {
	t.Run("one that observes", func(t *testing.T) {
		interceptortest.Run(t, interceptortest.Config{
			New: func(t testing.TB) core.Interceptor { return plugintest.Interceptor(t, newPolicy()) },
		})
	})
	t.Run("one that changes", func(t *testing.T) {
		const field = "X-Checked: yes\r\n"
		interceptortest.Run(t, interceptortest.Config{
			New: func(t testing.TB) core.Interceptor {
				p := newPolicy()
				p.changes = sdk.Changes{From: new("bounces@example.com"), Header: []sdk.Field{{Name: "X-Checked", Value: "yes"}}}
				return plugintest.Interceptor(t, p)
			},
			Expect: func(sent, received []byte) error {
				if !bytes.Equal(received, append([]byte(field), sent...)) {
					return fmt.Errorf("received %q", received)
				}
				return nil
			},
		})
	})
}

// post sends a message by a policy.
func post(t *testing.T, p *policy, m *core.Message, options smtptest.ServerOptions, behind ...core.Interceptor) (*core.Receipt, []smtptest.Message, error) {
	t.Helper()
	server := smtptest.NewServer(t, options)
	config := server.Config()
	config.Interceptors = append([]core.Interceptor{plugintest.Interceptor(t, p)}, behind...)
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	receipt, err := client.Send(t.Context(), m)
	return receipt, server.Messages(), err
}

func letter(to ...string) *core.Message {
	return &core.Message{From: "ann@example.com", To: core.Recipients(to...), Body: core.String("From: ann@example.com\r\nSubject: hi\r\n\r\nhi\r\n")}
}

func outcomes(r *core.Receipt) string {
	var list []string
	for _, one := range r.Recipients {
		list = append(list, one.Outcome.String())
	}
	return strings.Join(list, " ")
}

func TestInterceptor_whatItSees(t *testing.T) {
	p := newPolicy()
	m := letter("bob@example.net", "é@example.net")
	m.Params = []core.Param{core.EnvelopeID("QQ 1")}
	m.To[0].Params = []core.Param{core.NotifyNever()}
	receipt, _, err := post(t, p, m, smtptest.ServerOptions{DSN: true, SMTPUTF8: true, Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		if to.Address == "bob@example.net" {
			return nil
		}
		return smtptest.Reply("550 5.1.1 no such mailbox")
	}})
	if outcomes(receipt) != "accepted refused" {
		t.Fatal(err)
	}
	asked, heard := <-p.asked, <-p.heard
	id := asked.ID
	if len(id) < 16 || heard.ID != id {
		t.Errorf("the message is %q, and in the report %q", id, heard.ID)
	}
	if !strings.HasPrefix(asked.Endpoint, "smtp://127.0.0.1:") {
		t.Error(asked.Endpoint)
	}
	asked.ID, asked.Endpoint = "", ""
	want := sdk.Message{
		From: "ann@example.com", Params: []string{"ENVID=QQ+201"}, Size: m.Body.Size(),
		To: []sdk.Recipient{{Address: "bob@example.net", Params: []string{"NOTIFY=NEVER"}}, {Address: "é@example.net"}},
	}
	if got := fmt.Sprintf("%+v", *asked); got != fmt.Sprintf("%+v", want) {
		t.Errorf("%s\nwant %+v", got, want)
	}
	if heard.Attempts != 1 || heard.QueueID == "" || heard.QueueID != receipt.QueueID() || len(heard.Results) != 2 {
		t.Errorf("%+v", heard)
	}
	if got, want := heard.Results[0], (sdk.Result{Address: "bob@example.net", Outcome: core.Accepted, Code: 250, Enhanced: core.EnhancedCode{2, 0, 0}}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := heard.Results[1], (sdk.Result{Address: "é@example.net", Outcome: core.Refused, Code: 550, Enhanced: core.EnhancedCode{5, 1, 1}, Text: "rcpt: 550 5.1.1 no such mailbox"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestInterceptor_unknownSizeAndTheNullReversePath(t *testing.T) {
	p := newPolicy()
	m := letter("bob@example.net")
	m.From, m.Body = "", core.Reader(strings.NewReader("Subject: hi\r\n\r\nhi\r\n"))
	if _, _, err := post(t, p, m, smtptest.ServerOptions{}); err != nil {
		t.Error(err)
	}
	if asked := <-p.asked; asked.From != "" || asked.Size != -1 {
		t.Errorf("%+v", asked)
	}
}

// The reasons are shortened for as many recipients as there may be, so that the
// report is not too large.
func TestInterceptor_aLongReport(t *testing.T) {
	m := letter()
	for n := range 14_000 {
		m.To = append(m.To, core.Recipient{Address: fmt.Sprintf("bob%d@example.net", n)})
	}
	p := newPolicy()
	receipt, _, err := post(t, p, m, smtptest.ServerOptions{Rcpt: func(smtptest.Envelope, smtptest.Recipient) *core.Reply {
		return smtptest.Reply("550 5.1.1 " + strings.Repeat("no ", 100))
	}})
	if receipt.Count(core.Refused) != len(m.To) {
		t.Fatal(err)
	}
	select {
	case report := <-p.heard:
		if text := report.Results[len(m.To)-1].Text; len(report.Results) != len(m.To) || !strings.HasPrefix(text, "rcpt: 550 ") || !strings.HasSuffix(text, "...") {
			t.Errorf("%d results, and the last says %q", len(report.Results), text)
		}
	default:
		t.Error("nothing was reported")
	}
}

func TestInterceptor_decides(t *testing.T) {
	later := &core.Error{Class: core.Temporary, Hint: "come again", Err: errors.New("the quota is used up")}
	never := &core.Error{Class: core.Permanent, Err: errors.New("not to these")}
	for _, tt := range []struct {
		rule     string
		changes  sdk.Changes
		err      error
		outcomes string
		says     string
		to       string // whom the server has
	}{
		{"admits", sdk.Changes{}, nil, "accepted accepted accepted", "", "b@example.net c@example.net d@example.net"},
		{"defers all", sdk.Changes{}, later, "deferred deferred deferred", "policy: interceptor interceptor of plugin in-memory: the quota is used up (come again)", ""},
		{"refuses all", sdk.Changes{}, never, "refused refused refused", "not to these", ""},
		{"an error of nothing refuses", sdk.Changes{}, errors.New("oh"), "refused refused refused", "oh", ""},
		{"refuses one of three", sdk.Changes{Refuse: map[int]error{1: never}}, nil, "accepted refused accepted", "not to these", "b@example.net d@example.net"},
		{"refuses without a reason", sdk.Changes{Refuse: map[int]error{1: nil}}, nil, "accepted refused accepted", "without a reason", "b@example.net d@example.net"},
		{"who is deferred is not tried", sdk.Changes{Refuse: map[int]error{0: later, 2: later}}, nil, "deferred accepted deferred", "come again", "c@example.net"},
		{"refuses each of them", sdk.Changes{Refuse: map[int]error{0: later, 1: never, 2: later}}, nil, "deferred refused deferred", "come again", ""},
		{"redirects", sdk.Changes{Redirect: map[int]string{0: "x@example.net", 2: "é@example.net"}}, nil, "accepted accepted accepted", "", "x@example.net c@example.net é@example.net"},
		{"a refusal counts for more", sdk.Changes{Redirect: map[int]string{0: "x@example.net"}, Refuse: map[int]error{0: never}}, nil, "refused accepted accepted", "not to these", "c@example.net d@example.net"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			p := newPolicy()
			p.changes, p.err = tt.changes, tt.err
			receipt, got, err := post(t, p, letter("b@example.net", "c@example.net", "d@example.net"), smtptest.ServerOptions{SMTPUTF8: true})
			if outcomes(receipt) != tt.outcomes || fmt.Sprint(err) != "<nil>" && (tt.says == "" || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%s: %v", outcomes(receipt), err)
			}
			var to []string
			for _, m := range got {
				for _, r := range m.To {
					to = append(to, r.Address)
				}
			}
			if strings.Join(to, " ") != tt.to {
				t.Errorf("it went to %s", to)
			}
			for i, r := range receipt.Recipients {
				if want := string(rune('b'+i)) + "@example.net"; r.Address != want {
					t.Errorf("%s in the receipt, want %s", r.Address, want)
				}
			}
			if tt.err != nil {
				if len(p.heard) != 0 {
					t.Error("what was not admitted was reported")
				}
				return
			}
			report := <-p.heard
			for i, r := range report.Results {
				if r.Outcome != receipt.Recipients[i].Outcome || r.Address != receipt.Recipients[i].Address {
					t.Errorf("%+v was reported, and it is %+v", r, receipt.Recipients[i])
				}
			}
		})
	}
}

// The fields are in front of what was signed with them.
func TestInterceptor_fieldsAreSigned(t *testing.T) {
	sign, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{{
		Domain: "example.com", Selector: "s", Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), HeaderKeys: []string{"From", "X-Policy"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	p := newPolicy()
	p.changes.Header = []sdk.Field{{Name: "X-Policy", Value: strings.Repeat("word ", 30) + "\tend "}, {Name: "X-Empty"}}
	_, got, err := post(t, p, letter("bob@example.net"), smtptest.ServerOptions{}, sign)
	if err != nil {
		t.Fatal(err)
	}
	content := string(got[0].Content)
	line := strings.TrimSpace(strings.Repeat("word ", 14))
	fields := "X-Policy: " + line[:4+12*5] + "\r\n " + line + " word\r\n word word \tend\r\nX-Empty:\r\nFrom: "
	if signature, _, _ := strings.Cut(content, "X-Policy: "); !strings.HasPrefix(signature, "DKIM-Signature: ") || !strings.Contains(signature, "X-Policy") || !strings.Contains(content, fields) {
		t.Errorf("%s\nwant\n%s", content, fields)
	}
	config := core.Config{Interceptors: []core.Interceptor{sign, plugintest.Interceptor(t, p)}}
	config.Endpoint, config.Transports = "smtp://127.0.0.1:1", smtptest.NewServer(t, smtptest.ServerOptions{}).Config().Transports
	if _, err := core.NewClient(config); err == nil || !strings.Contains(err.Error(), "after \"dkim\" has signed it") {
		t.Errorf("behind a signer: %v", err)
	}
}

// A value for each delivery, with many at a time.
func TestInterceptor_manyAtATime(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	config := server.Config()
	config.Interceptors = []core.Interceptor{plugintest.Interceptor(t, sdk.AdmitFunc(func(_ context.Context, m *sdk.Message) (sdk.Changes, error) {
		return sdk.Changes{Header: []sdk.Field{{Name: "X-To", Value: m.To[0].Address}}}, nil
	}))}
	config.PipelineDepth = 8
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	var sending sync.WaitGroup
	for n := range 100 {
		sending.Go(func() {
			if _, err := client.Send(t.Context(), letter(fmt.Sprintf("bob%d@example.net", n))); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	for _, m := range server.Messages() {
		if !strings.HasPrefix(string(m.Content), "X-To: "+m.To[0].Address+"\r\n") {
			t.Errorf("%s has %q", m.To, m.Content)
		}
	}
	if n := len(server.Messages()); n != 100 {
		t.Errorf("%d messages", n)
	}
}

// What is not UTF-8 says so itself, in place of an answer that nobody can read.
func TestInterceptor_textThatIsNotUTF8(t *testing.T) {
	for _, changes := range []sdk.Changes{
		{From: new("a\xff@example.com")},
		{Redirect: map[int]string{0: "a\xff@example.com"}},
		{Header: []sdk.Field{{Name: "X", Value: "\xff"}}},
	} {
		p := newPolicy()
		p.changes = changes
		receipt, _, err := post(t, p, letter("bob@example.net"), smtptest.ServerOptions{})
		if outcomes(receipt) != "refused" || !strings.Contains(err.Error(), "not UTF-8") {
			t.Error(err)
		}
	}
}

func TestInterceptor_aPanicIsContained(t *testing.T) {
	receipt, err := func() (*core.Receipt, error) {
		server := smtptest.NewServer(t, smtptest.ServerOptions{})
		config := server.Config()
		config.Interceptors = []core.Interceptor{plugintest.Interceptor(t, sdk.AdmitFunc(func(context.Context, *sdk.Message) (sdk.Changes, error) { panic("oh") }))}
		client, err := core.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		return client.Send(t.Context(), letter("bob@example.net"))
	}()
	if outcomes(receipt) != "deferred" || !strings.Contains(err.Error(), "it panicked") || strings.Contains(err.Error(), "oh") {
		t.Error(err)
	}
}

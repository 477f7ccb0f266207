package core_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/logging"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/middleware/telemetry"
)

// rewriter rewrites the envelope of each message, and returns an error of that in
// place of next's.
func rewriter(change func(m *core.Message)) core.Interceptor {
	return core.Interceptor{Name: "rewriter", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			m := *d.Message()
			m.To = slices.Clone(m.To)
			change(&m)
			if err := d.Rewrite(&m); err != nil {
				return err
			}
			return next(ctx, d)
		}
	}}
}

func TestRewrite(t *testing.T) {
	const utf8 = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250 SMTPUTF8\n"
	for _, tt := range []struct {
		rule     string
		change   func(m *core.Message)
		dialogue string
		outcomes string
	}{
		{
			"one of three, with PIPELINING", func(m *core.Message) { m.To[1].Address = "x@example.net" },
			pipelining + "C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<x@example.net>\nC| RCPT TO:<d@example.com>\nC| DATA\n" +
				"S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go on\n" + sent, "accepted 250; refused 550; accepted 250",
		},
		{
			"one of three, without", func(m *core.Message) { m.To[1].Address = "x@example.net" },
			plain + "C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: RCPT TO:<x@example.net>\nS: 550 no\n" +
				"C: RCPT TO:<d@example.com>\nS: 250 ok\nC: DATA\nS: 354 go on\n" + sent, "accepted 250; refused 550; accepted 250",
		},
		{
			"the null reverse-path (RFC 5321 §4.5.5)", func(m *core.Message) { m.From = "" },
			pipelining + "C: MAIL FROM:<>\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<c@example.com>\nC| RCPT TO:<d@example.com>\nC| DATA\n" +
				"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go on\n" + sent, "accepted 250; accepted 250; accepted 250",
		},
		{
			"an address that needs SMTPUTF8 declares it (RFC 6531 §3.4)", func(m *core.Message) { m.To[2].Address = "é@example.com" },
			utf8 + "C: MAIL FROM:<a@example.com> SMTPUTF8\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<c@example.com>\nC| RCPT TO:<é@example.com>\nC| DATA\n" +
				"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go on\n" + sent, "accepted 250; accepted 250; accepted 250",
		},
		{
			"a domain is converted where the server has no SMTPUTF8 (RFC 5891)", func(m *core.Message) { m.From = "a@bücher.example" },
			pipelining + "C: MAIL FROM:<a@xn--bcher-kva.example>\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<c@example.com>\nC| RCPT TO:<d@example.com>\nC| DATA\n" +
				"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go on\n" + sent, "accepted 250; accepted 250; accepted 250",
		},
		{
			"parameters too", func(m *core.Message) {
				m.Params = []core.Param{core.Parameter("", "X-P", "1")}
				m.To[0].Params = m.Params
			},
			pipelining + "C: MAIL FROM:<a@example.com> X-P=1\nC| RCPT TO:<b@example.com> X-P=1\nC| RCPT TO:<c@example.com>\nC| RCPT TO:<d@example.com>\nC| DATA\n" +
				"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go on\n" + sent, "accepted 250; accepted 250; accepted 250",
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, tt.dialogue+bye, smtptest.Options{}, with(rewriter(tt.change)))
			m := message("b@example.com", "c@example.com", "d@example.com")
			receipt, _ := c.Send(t.Context(), m)
			if got := outcomes(receipt); got != tt.outcomes {
				t.Errorf("%s, want %s: %v", got, tt.outcomes, receipt.Recipients)
			}
			for i, address := range []string{"b@example.com", "c@example.com", "d@example.com"} {
				if receipt.Recipients[i].Address != address || m.To[i].Address != address {
					t.Errorf("recipient %d is %s in the receipt, and %s in the message", i+1, receipt.Recipients[i].Address, m.To[i].Address)
				}
			}
		})
	}
}

// An envelope that needed SMTPUTF8 no longer does.
func TestRewrite_awayFromSMTPUTF8(t *testing.T) {
	c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(rewriter(func(m *core.Message) { m.To[0].Address = "b@example.com" })))
	receipt, err := c.Send(t.Context(), message("é@example.com"))
	if err != nil || receipt.Recipients[0].Address != "é@example.com" {
		t.Error(receipt.Recipients, err)
	}
}

func TestRewrite_refuses(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		change func(m *core.Message)
		stage  core.Stage
		says   string
	}{
		{"fewer recipients", func(m *core.Message) { m.To = m.To[:1] }, core.StagePolicy, "has 1 recipients, and the message 2"},
		{"more recipients", func(m *core.Message) { m.To = append(m.To, m.To[0]) }, core.StagePolicy, "has 3 recipients, and the message 2"},
		{"another body", func(m *core.Message) { m.Body = core.String("hi\r\n") }, core.StagePolicy, "Interceptor.Content"},
		{"no body", func(m *core.Message) { m.Body = nil }, core.StagePolicy, "Interceptor.Content"},
		{"another form of the body", func(m *core.Message) { m.Binary = true }, core.StagePolicy, "Interceptor.Content"},
		{"a line end in an address", func(m *core.Message) { m.To[1].Address = "b@example.com>\r\nRSET" }, core.StageRcpt, "recipient 2"},
		{"no address", func(m *core.Message) { m.To[0].Address = "" }, core.StageRcpt, "recipient 1: empty address"},
		{"a sender that is none", func(m *core.Message) { m.From = "a" }, core.StageMail, "has no domain"},
		{"a parameter that is set as needed", func(m *core.Message) { m.Params = []core.Param{core.Parameter("", "SIZE", "1")} }, core.StageMail, "Message.Params holds SIZE"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, "", smtptest.Options{}, with(rewriter(tt.change)))
			receipt, err := c.Send(t.Context(), message("b@example.com", "c@example.com"))
			if e := hasError(t, err, tt.stage, core.Local, nil); !strings.Contains(e.Error(), tt.says) || receipt.Count(core.Refused) != 2 {
				t.Errorf("%s: %v", outcomes(receipt), err)
			}
		})
	}
}

// What cannot be compared is taken to be the same, and is not looked at.
func TestRewrite_aBodyThatCannotBeCompared(t *testing.T) {
	c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(rewriter(func(m *core.Message) { m.To[0].Address = "b@example.com" })))
	m := message("c@example.com")
	m.Body = core.Segments(core.String("h"), core.String("i\r\n"))
	if _, err := c.Send(t.Context(), m); err != nil {
		t.Error(err)
	}
}

// When Rewrite comes: nothing is changed if that is too late.
func TestRewrite_time(t *testing.T) {
	var late *core.Delivery
	for _, tt := range []struct {
		rule string
		do   func(ctx context.Context, d *core.Delivery, m *core.Message, next core.DeliverFunc) error
		says string
	}{
		{"behind an attempt", func(ctx context.Context, d *core.Delivery, m *core.Message, next core.DeliverFunc) error {
			_ = next(ctx, d)
			return d.Rewrite(m)
		}, "behind an attempt"},
		{"while next runs", func(ctx context.Context, d *core.Delivery, m *core.Message, next core.DeliverFunc) error {
			return next(context.WithValue(ctx, victimKey{}, m), d)
		}, "while next runs"},
		{"without a message", func(ctx context.Context, d *core.Delivery, _ *core.Message, next core.DeliverFunc) error {
			defer func() { late = d; _ = next(ctx, d) }()
			return d.Rewrite(nil)
		}, "no message"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var got error
			var delivery *core.Delivery
			i := core.Interceptor{
				Name: "late",
				Delivery: func(next core.DeliverFunc) core.DeliverFunc {
					return func(ctx context.Context, d *core.Delivery) error {
						delivery = d
						got = tt.do(ctx, d, message("x@example.com"), next)
						return nil
					}
				},
				Content: func(next core.ContentFunc) core.ContentFunc {
					return func(ctx context.Context, c *core.Content) error {
						if m, ok := ctx.Value(victimKey{}).(*core.Message); ok {
							m.Body = c.Message().Body
							return delivery.Rewrite(m)
						}
						return next(ctx, c)
					}
				},
			}
			dialogue := pipelining + envelope + goOn + sent + bye
			if tt.rule == "while next runs" {
				dialogue = pipelining + bye
			}
			c := newClient(t, dialogue, smtptest.Options{}, with(i))
			_, _ = c.Send(t.Context(), message("b@example.com"))
			if e := hasError(t, got, core.StagePolicy, core.Local, nil); !strings.Contains(e.Error(), tt.says) {
				t.Error(got)
			}
		})
	}
	if e := hasError(t, late.Rewrite(late.Message()), core.StagePolicy, core.Local, nil); !strings.Contains(e.Error(), "when the delivery is over") {
		t.Error(e)
	}
}

// With what stands around it: the second try has the same envelope, content that
// was changed goes with it, and who observes loses nothing.
func TestRewrite_inAPipeline(t *testing.T) {
	var tries atomic.Int32
	server := smtptest.NewServer(t, smtptest.ServerOptions{Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		if to.Address == "x@example.net" && tries.Add(1) == 1 {
			return smtptest.Reply("450 4.2.0 later")
		}
		return nil
	}})
	var log bytes.Buffer
	observe := must(t)(logging.New(logging.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Addresses: true}))
	again := must(t)(retry.New(retry.Config{Attempts: 3, InitialInterval: time.Millisecond}))
	stamp := core.Interceptor{Name: "stamp", Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			c.Prepend("X-To: " + c.Message().To[1].Address)
			return next(ctx, c)
		}
	}}
	change := rewriter(func(m *core.Message) { m.To[1].Address = "x@example.net" })
	config := server.Config()
	config.Interceptors = []core.Interceptor{must(t)(telemetry.New()), observe, change, again, stamp}
	c, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	receipt, err := c.Send(t.Context(), message("b@example.com", "c@example.com"))
	if err != nil || receipt.Attempts != 2 || receipt.Recipients[1].Address != "c@example.com" {
		t.Errorf("%v, %+v", err, receipt)
	}
	got := server.Messages()
	if len(got) != 2 || got[0].To[0].Address != "b@example.com" || got[1].To[0].Address != "x@example.net" || !strings.HasPrefix(string(got[1].Content), "X-To: x@example.net\r\n") {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(log.String(), "x@example.net") {
		t.Errorf("the log has not where it went: %s", &log)
	}
}

// Behind a retry it is too late with the second try, which changes no outcome.
func TestRewrite_behindARetry(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Rcpt: func(smtptest.Envelope, smtptest.Recipient) *core.Reply {
		return smtptest.Reply("450 4.2.0 later")
	}})
	config := server.Config()
	config.Interceptors = []core.Interceptor{
		must(t)(retry.New(retry.Config{Attempts: 3, InitialInterval: time.Millisecond})),
		rewriter(func(m *core.Message) { m.From = "" }),
	}
	c, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	receipt, err := c.Send(t.Context(), message("b@example.com"))
	if receipt.Attempts != 1 || outcomes(receipt) != "deferred 450 4.2.0" || !errors.Is(err, core.ErrRecipientRefused) {
		t.Errorf("%d attempts, %s: %v", receipt.Attempts, outcomes(receipt), err)
	}
}

// must returns the interceptor that was made.
func must(t *testing.T) func(core.Interceptor, error) core.Interceptor {
	return func(i core.Interceptor, err error) core.Interceptor {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
}

package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// newClient returns a client of a server that plays the dialogue. The client is
// closed when the test ends, with a QUIT for each session that is still good.
func newClient(t *testing.T, dialogue string, options smtptest.Options, change ...func(*core.Config)) *core.Client {
	t.Helper()
	config := smtptest.NewScript(t, dialogue, options).Config()
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

const (
	// pipelining is a server that takes groups, plain one that does not.
	pipelining = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 PIPELINING\n"
	plain      = "S: 220 hi\nC: EHLO client.example\nS: 250 mx.example\n"
	bye        = "\nC: QUIT\nS: 221 bye\n"
)

// message is to the given recipients.
func message(to ...string) *core.Message {
	return &core.Message{From: "a@example.com", To: core.Recipients(to...), Body: core.String("hi\r\n")}
}

// outcomes is a receipt in short: "accepted 250; refused 550 5.1.1".
func outcomes(r *core.Receipt) string {
	var list []string
	for _, x := range r.Recipients {
		s := x.Outcome.String()
		if x.Reply.Code != 0 {
			s += fmt.Sprintf(" %d", x.Reply.Code)
		}
		if e := x.Reply.Enhanced.String(); e != "" {
			s += " " + e
		}
		list = append(list, s)
	}
	return strings.Join(list, "; ")
}

func TestSend(t *testing.T) {
	for _, tt := range []struct {
		rule     string
		dialogue string
		to       string // separated by spaces
		outcomes string
		kind     error
	}{
		{
			"with PIPELINING the envelope is one write (RFC 2920 §3.1)",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S: 250 2.0.0 queued as 7` + bye,
			"b@example.com c@example.com", "accepted 250 2.0.0; accepted 250 2.0.0", nil,
		},
		{
			"R2 without it no command is written before the reply to the last (RFC 5321 §4.1.1)",
			plain + `
			C: MAIL FROM:<a@example.com>
			S: 250 ok
			C: RCPT TO:<b@example.com>
			S: 250 ok
			C: RCPT TO:<c@example.com>
			S: 252 who knows
			C: DATA
			S: 354 go on
			C: hi
			C| .
			S: 250 ok` + bye,
			"b@example.com c@example.com", "accepted 250; accepted 250", nil,
		},
		{
			"F4 each recipient has its own outcome, and content goes to the others (RFC 5321 §3.3)",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| RCPT TO:<d@example.com>
			C| RCPT TO:<e@example.com>
			C| DATA
			S: 250 ok
			S: 550 5.1.1 unknown
			S: 251 forwarded
			S: 450 4.2.0 busy
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S: 250 ok` + bye,
			"b@example.com c@example.com d@example.com e@example.com",
			"refused 550 5.1.1; accepted 250; deferred 450 4.2.0; accepted 250", core.ErrRecipientRefused,
		},
		{
			"F5 452 is not that there were too many if another one is taken behind it",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| RCPT TO:<d@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 452 disk full
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S: 250 ok` + bye,
			"b@example.com c@example.com d@example.com", "accepted 250; deferred 452; accepted 250", core.ErrRecipientRefused,
		},
		{
			"F5 recipients of whom there were too many are due at once, in a transaction of their own (RFC 5321 §4.5.3.1.10)",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| RCPT TO:<d@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 452 4.5.3 too many
			S: 552 too many
			S: 354 go on
			C: hi
			C| .
			S: 250 ok
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<c@example.com>
			C| RCPT TO:<d@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 452 4.5.3 too many
			S: 354 go on
			C: hi
			C| .
			S: 250 ok
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<d@example.com>
			C| DATA
			S: 250 ok
			S: 452 4.5.3 too many
			S: 503 no` + bye,
			"b@example.com c@example.com d@example.com", "accepted 250; accepted 250; deferred 452 4.5.3", core.ErrRecipientRefused,
		},
		{
			"trap 18: 552 5.2.2 to RCPT is a full mailbox, and permanent",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 552 5.2.2 full
			S: 503 no` + bye,
			"b@example.com", "refused 552 5.2.2", core.ErrRecipientRefused,
		},
		{
			"F6 without PIPELINING no DATA follows if every recipient was refused",
			plain + `
			C: MAIL FROM:<a@example.com>
			S: 250 ok
			C: RCPT TO:<b@example.com>
			S: 550 no` + bye,
			"b@example.com", "refused 550", core.ErrRecipientRefused,
		},
		{
			"F7 354 though every recipient was refused: a lone dot, whatever the reply (RFC 2920 §3.1)",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 550 5.1.1 no
			S: 354 go on
			C: .
			S: 250 thank you for nothing` + bye,
			"b@example.com", "refused 550 5.1.1", core.ErrRecipientRefused,
		},
		{
			"F8 every recipient refused, DATA refused: nothing of the content is sent",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 450 busy
			S: 554 no valid recipients` + bye,
			"b@example.com", "deferred 450", core.ErrRecipientRefused,
		},
		{
			"F9 a refused MAIL counts, and not what follows from it",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 550 5.7.1 not you
			S: 503 no
			S: 503 no` + bye,
			"b@example.com", "refused 550 5.7.1", core.ErrSenderRefused,
		},
		{
			"F10 550 and then the end of the connection is a refusal",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 550 5.7.1 not you
			CLOSE`,
			"b@example.com", "refused 550 5.7.1", core.ErrSenderRefused,
		},
		{
			"F10 the replies that came count, the missing ones are temporary",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| DATA
			S: 250 ok
			S: 550 5.1.1 no
			CLOSE`,
			"b@example.com c@example.com", "refused 550 5.1.1; deferred", core.ErrDisconnected,
		},
		{
			"F13 421 to RCPT settles it and those behind it as temporary",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| RCPT TO:<d@example.com>
			C| DATA
			S: 250 ok
			S: 550 5.1.1 no
			S: 421 4.3.2 bye
			HANG`,
			"b@example.com c@example.com d@example.com", "refused 550 5.1.1; deferred 421 4.3.2; deferred 421 4.3.2", core.ErrDisconnected,
		},
		{
			"B15 354 to RCPT is a protocol error",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 354 go on
			HANG`,
			"b@example.com", "deferred", core.ErrProtocol,
		},
		{
			"G1 451 to DATA is temporary",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 451 4.3.0 later` + bye,
			"b@example.com", "deferred 451 4.3.0", core.ErrContentRefused,
		},
		{
			"G1 250 to DATA is a protocol error, and no content is sent",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 250 ok
			HANG`,
			"b@example.com", "deferred", core.ErrProtocol,
		},
		{
			"a refused content is a refusal",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S: 554 5.7.1 spam` + bye,
			"b@example.com", "refused 554 5.7.1", core.ErrContentRefused,
		},
		{
			"G8 the end of the connection behind the dot leaves the outcome unknown (RFC 1047)",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 550 no
			S: 354 go on
			C: hi
			C| .
			CLOSE`,
			"b@example.com c@example.com", "unknown; refused 550", core.ErrUnknownOutcome,
		},
		{
			"half a reply behind the dot is no reply",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S~ "250 o"
			CLOSE`,
			"b@example.com", "unknown", core.ErrUnknownOutcome,
		},
		{
			"421 in the place of the reply to the content is temporary",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S: 421 4.3.2 bye
			HANG`,
			"b@example.com", "deferred 421 4.3.2", core.ErrDisconnected,
		},
		{
			"G9 250 and then the end of the connection is delivered",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S: 250 ok
			CLOSE`,
			"b@example.com", "accepted 250", nil,
		},
		{
			"G10 354 in the place of the reply to the content leaves the outcome unknown",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: hi
			C| .
			S: 354 and more
			HANG`,
			"b@example.com", "unknown", core.ErrProtocol,
		},
		{
			"G11 250 before the content was sent is a protocol error, and not delivered",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			S: 250 thank you
			HANG`,
			"b@example.com", "deferred", core.ErrProtocol,
		},
		{
			"G2 the end of the connection in place of the content's start is temporary",
			pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			CLOSE`,
			"b@example.com", "deferred", core.ErrDisconnected,
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, tt.dialogue, smtptest.Options{})
			receipt, err := c.Send(t.Context(), message(strings.Fields(tt.to)...))
			if got := outcomes(receipt); got != tt.outcomes {
				t.Errorf("outcomes %q, want %q", got, tt.outcomes)
			}
			checkDeliveryError(t, receipt, err, tt.kind)
		})
	}
}

// checkDeliveryError checks that the error goes with the outcomes.
func checkDeliveryError(t *testing.T, receipt *core.Receipt, err, kind error) {
	t.Helper()
	d, ok := errors.AsType[*core.DeliveryError](err)
	if (err == nil) != (receipt.Count(core.Accepted) == len(receipt.Recipients)) || (err != nil) != ok || ok && d.Receipt != receipt {
		t.Errorf("error %v does not go with the outcomes", err)
	}
	if kind != nil && !errors.Is(err, kind) {
		t.Errorf("error %v is not of the kind %q", err, kind)
	}
}

func TestSend_LMTP(t *testing.T) {
	const three = `
		S: 220 hi
		C: LHLO client.example
		S: 250-lmtp.example
		S: 250 PIPELINING
		C: MAIL FROM:<a@example.com>
		C| RCPT TO:<b@example.com>
		C| RCPT TO:<x@example.com>
		C| RCPT TO:<b@example.com>
		C| RCPT TO:<c@example.com>
		C| DATA
		S: 250 ok
		S: 250 ok
		S: 550 5.1.1 unknown
		S: 250 ok
		S: 250 ok
		S: 354 go on
		C: hi
		C| .
		`
	for _, tt := range []struct{ rule, replies, outcomes string }{
		{"I1 I9 one reply for each accepted recipient, in their order (RFC 2033 §4.2)", "S: 250 ok\nS: 452 4.2.2 full\nS: 550 5.7.1 no" + bye,
			"accepted 250; refused 550 5.1.1; deferred 452 4.2.2; refused 550 5.7.1"},
		{"I2 those without a reply are unknown", "S: 250 ok\nCLOSE",
			"accepted 250; refused 550 5.1.1; unknown; unknown"},
		{"421 settles itself and those behind it without a reply as temporary", "S: 250 ok\nS: 421 bye\nCLOSE",
			"accepted 250; refused 550 5.1.1; deferred 421; deferred 421"},
		{"but a reply behind it is another recipient's own", "S: 250 ok\nS: 421 bye\nS: 250 stored\nHANG",
			"accepted 250; refused 550 5.1.1; deferred 421; accepted 250"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, three+tt.replies, smtptest.Options{Protocol: core.LMTP})
			receipt, err := c.Send(t.Context(), message("b@example.com", "x@example.com", "b@example.com", "c@example.com"))
			if got := outcomes(receipt); got != tt.outcomes {
				t.Errorf("outcomes %q, want %q", got, tt.outcomes)
			}
			checkDeliveryError(t, receipt, err, nil)
		})
	}
}

const (
	envelope = `
		C: MAIL FROM:<a@example.com>
		C| RCPT TO:<b@example.com>
		C| DATA
	`
	goOn = "S: 250 ok\nS: 250 ok\nS: 354 go on\n"
	sent = "C: hi\nC| .\nS: 250 ok\n"
)

func TestSend_parameters(t *testing.T) {
	const all = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250-SIZE 100\nS: 250-8BITMIME\nS: 250 SMTPUTF8\n"
	for _, tt := range []struct {
		rule       string
		hello      string
		from       string
		body       core.Body
		parameters string // of MAIL
		content    string // lines of it
		err        error  // or why nothing was sent
	}{
		{"32 SIZE is the size with line ends made right, before dot-stuffing (RFC 1870 §3)", all, "a@example.com", core.String(".\nx"), " SIZE=6", "C: ..\nC| x\n", nil},
		{"8-bit content is declared (RFC 6152 §2)", all, "a@example.com", core.String("\xe9\r\n"), " SIZE=3 BODY=8BITMIME", "C: \xe9\n", nil},
		{"a size that is unknown is not declared", all, "a@example.com", core.Reader(strings.NewReader("x\n")), " BODY=8BITMIME", "C: x\n", nil},
		{"SMTPUTF8 is asked for where an address needs it (RFC 6531 §3.4)", all, "é@example.com", core.String("x\n"), " SIZE=3 SMTPUTF8", "C: x\n", nil},
		{"nothing is declared that was not announced", pipelining, "a@example.com", core.String("x\n"), "", "C: x\n", nil},
		{"a message over SIZE is refused here", all, "a@example.com", core.Bytes(make([]byte, 101)), "", "", errAny},
		{"a domain that is not ASCII is converted without SMTPUTF8 (RFC 5891)", pipelining, "a@bücher.example", core.String("x\n"), "", "C: x\n", nil},
		{"an address that is not ASCII is refused here without SMTPUTF8", pipelining, "é@example.com", core.String("x\n"), "", "", core.ErrNotSupported},
		{"G19 8-bit content is refused here without 8BITMIME", pipelining, "a@example.com", core.String("\xe9"), "", "", core.ErrNotSupported},
		{"G19 also if nobody knew before that it was", pipelining, "a@example.com", core.Canonical(noForm{core.String("\xe9")}), "", "", core.ErrNotSupported},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			dialogue := tt.hello + bye
			if tt.err == nil {
				dialogue = tt.hello + "C: MAIL FROM:<" + strings.Replace(tt.from, "bücher", "xn--bcher-kva", 1) + ">" + tt.parameters + "\nC| RCPT TO:<b@example.com>\nC| DATA\n" + goOn + tt.content + "C| .\nS: 250 ok\n" + bye
			}
			c := newClient(t, dialogue, smtptest.Options{})
			m := message("b@example.com")
			m.From, m.Body = tt.from, tt.body
			receipt, err := c.Send(t.Context(), m)
			if tt.err == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if receipt.Recipients[0].Outcome != core.Refused || tt.err != errAny && !errors.Is(err, tt.err) {
				t.Errorf("%s: %v", outcomes(receipt), err)
			}
			hasError(t, err, core.StagePolicy, core.Local, nil)
		})
	}
}

var errAny = errors.New("any error")

// noForm hides what is known of a body.
type noForm struct{ body core.Body }

func (b noForm) Open(ctx context.Context) (io.ReadCloser, error) { return b.body.Open(ctx) }
func (b noForm) Size() int64                                     { return b.body.Size() }

// A body that cannot be finished is never ended as if it were whole: the
// connection is closed without a dot, and with nothing behind what was written.
func TestSend_bodyThatFails(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, tt := range []struct {
		rule string
		body core.Body
		kind error
	}{
		{"trap 1, G13: the reader fails midway", core.Reader(io.MultiReader(strings.NewReader("one\r\n"), iotest.ErrReader(broken))), broken},
		{"the reader makes no progress", core.Reader(stuck{}), io.ErrNoProgress},
		{"H5 fewer octets than declared", declared{core.Bytes(make([]byte, 100_000)), 100_001}, nil},
		{"H5 more octets than declared", declared{core.Bytes(make([]byte, 100_000)), 99_999}, nil},
		{"8-bit content that nobody knew of, without 8BITMIME", core.Reader(strings.NewReader("\xe9\r\n")), core.ErrNotSupported},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, pipelining+envelope+goOn+"IGNORE", smtptest.Options{})
			m := message("b@example.com")
			m.Body = tt.body
			receipt, err := c.Send(t.Context(), m)
			if receipt.Recipients[0].Outcome != core.Refused || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("%s: %v", outcomes(receipt), err)
			}
		})
	}
	t.Run("a bare line end is refused on request (G16)", func(t *testing.T) {
		for _, content := range []string{"a\nb", "a\rb", "\n.\n", "a\r", "\r\r\n"} {
			c := newClient(t, pipelining+envelope+goOn+"HANG", smtptest.Options{}, func(config *core.Config) { config.LineEnds = core.RefuseLineEnds })
			m := message("b@example.com")
			m.Body = core.String(content)
			receipt, err := c.Send(t.Context(), m)
			if receipt.Recipients[0].Outcome != core.Refused {
				t.Errorf("%q: %s: %v", content, outcomes(receipt), err)
			}
		}
	})
	t.Run("a small body whose size is wrong is found out before anything is sent", func(t *testing.T) {
		for _, size := range []int64{3, 5} {
			c := newClient(t, pipelining+bye, smtptest.Options{})
			m := message("b@example.com")
			m.Body = declared{core.String("four"), size}
			if receipt, err := c.Send(t.Context(), m); receipt.Recipients[0].Outcome != core.Refused {
				t.Errorf("%s: %v", outcomes(receipt), err)
			}
		}
	})
	t.Run("a body that cannot be opened leaves the session clean", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{})
		m := message("b@example.com")
		m.Body = core.File("/does/not/exist")
		receipt, err := c.Send(t.Context(), m)
		if receipt.Recipients[0].Outcome != core.Refused {
			t.Errorf("%s: %v", outcomes(receipt), err)
		}
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(err)
		}
	})
	t.Run("a body that opens to nothing is none", func(t *testing.T) {
		for _, body := range []core.Body{opensToNil(-1), opensToNil(4), opensToNil(1 << 20), core.Segments(opensToNil(-1)), core.Canonical(opensToNil(-1))} {
			c := newClient(t, pipelining+bye, smtptest.Options{})
			m := message("b@example.com")
			m.Body = body
			if receipt, err := c.Send(t.Context(), m); receipt.Count(core.Refused) != 1 || !strings.Contains(err.Error(), "neither a reader nor an error") {
				t.Errorf("%s: %v", outcomes(receipt), err)
			}
		}
	})
	t.Run("a panic of the reader is contained", func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+"IGNORE", smtptest.Options{})
		m := message("b@example.com")
		m.Body = core.Reader(panicking{})
		_, err := c.Send(t.Context(), m)
		if p, ok := errors.AsType[*core.PanicError](err); !ok || p.Where != "the message's body" {
			t.Errorf("error %v is no panic of the body", err)
		}
	})
}

type declared struct {
	core.Body
	size int64
}

func (d declared) Size() int64 { return d.size }

// opensToNil is a body that opens to nothing; the number is its size.
type opensToNil int64

func (opensToNil) Open(context.Context) (io.ReadCloser, error) { return nil, nil }
func (b opensToNil) Size() int64                               { return int64(b) }

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("no") }

func TestSend_largeContent(t *testing.T) {
	large := []byte(strings.Repeat(strings.Repeat("x", 78)+"\r\n", 5000))
	for _, tt := range []struct {
		rule     string
		dialogue string
		outcomes string
	}{
		{"G3 a refusal in the middle is believed, though the rest cannot be written", "S: 552 5.3.4 too much\nHANG", "refused 552 5.3.4"},
		{"G3 the same if the server closes", "S: 552 5.3.4 too much\nCLOSE", "refused 552 5.3.4"},
		{"G3 421 in the middle is temporary", "S: 421 4.3.0 bye\nHANG", "deferred 421 4.3.0"},
		{"G11 250 in the middle is a protocol error", "S: 250 thank you\nSTALL", "deferred"},
		{"G2 the end of the connection in the middle is temporary", "CLOSE", "deferred"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, pipelining+envelope+goOn+"C: "+strings.Repeat("x", 78)+"\n"+strings.Replace(tt.dialogue, "HANG", "IGNORE", 1), smtptest.Options{})
			m := message("b@example.com")
			m.Body = core.Bytes(large)
			receipt, err := c.Send(t.Context(), m)
			if got := outcomes(receipt); got != tt.outcomes {
				t.Errorf("outcomes %q, want %q (%v)", got, tt.outcomes, err)
			}
		})
	}
}

package core_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

const (
	chunking     = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-8BITMIME\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
	envelopeOnly = "C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\n"
	twoOK        = "S: 250 ok\nS: 250 ok\n"
)

func TestChunking(t *testing.T) {
	const inline = envelopeOnly + "C| BDAT 4 LAST\nC| hi\n"
	for _, tt := range []struct {
		rule     string
		dialogue string
		outcome  string
		kind     error
	}{
		{"small content leaves with its envelope, in one write (RFC 3030 §4.2)", chunking + inline + twoOK + "S: 250 4 octets" + bye, "accepted 250", nil},
		{"R6 the reply may have several lines", chunking + inline + twoOK + "S: 250- 4 byte chunk\nS: 250 OK id=1x" + bye, "accepted 250", nil},
		{"all recipients refused, 503: a reset is due, and the session lives", chunking + inline + "S: 250 ok\nS: 550 5.1.1 no\nS: 503 no recipient\n" + bye, "refused 550 5.1.1", core.ErrRecipientRefused},
		{"or 502, as go-smtp says it", chunking + inline + "S: 250 ok\nS: 550 5.1.1 no\nS: 502 5.5.1 missing RCPT\n" + bye, "refused 550 5.1.1", core.ErrRecipientRefused},
		{"H1 500 closes the connection even then", chunking + inline + "S: 250 ok\nS: 550 5.1.1 no\nS: 500 what\nHANG", "refused 550 5.1.1", core.ErrRecipientRefused},
		{"MAIL refused: that counts", chunking + inline + "S: 550 5.7.1 no\nS: 503 no\nS: 503 no" + bye, "refused 550 5.7.1", core.ErrSenderRefused},
		{"refused content is a refusal", chunking + inline + twoOK + "S: 554 5.7.1 spam" + bye, "refused 554 5.7.1", core.ErrContentRefused},
		{"the end of the connection behind the chunk leaves the outcome unknown", chunking + inline + "S: 250 ok\nS: 250 ok\nCLOSE", "unknown", core.ErrUnknownOutcome},
		{"even if nothing was read before it", chunking + inline + "CLOSE", "unknown", core.ErrUnknownOutcome},
		{"but a refusal that was read stands", chunking + inline + "S: 250 ok\nS: 550 5.1.1 no\nCLOSE", "refused 550 5.1.1", core.ErrRecipientRefused},
		{"421 settles what it replies to and what is behind it", chunking + inline + "S: 250 ok\nS: 421 4.3.0 bye\nHANG", "deferred 421 4.3.0", core.ErrDisconnected},
		{"H1 502 to BDAT closes the connection at once, and is temporary", chunking + inline + twoOK + "S: 502 5.5.1 what\nHANG", "deferred 502 5.5.1", core.ErrProtocol},
		{"without PIPELINING the content leaves behind the replies to its envelope",
			strings.Replace(chunking, "S: 250-PIPELINING\n", "", 1) + "C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: BDAT 4 LAST\nC| hi\nS: 250 ok" + bye, "accepted 250", nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, tt.dialogue, smtptest.Options{})
			receipt, err := c.Send(t.Context(), message("b@example.com"))
			if got := outcomes(receipt); got != tt.outcome {
				t.Errorf("outcome %q, want %q (%v)", got, tt.outcome, err)
			}
			checkDeliveryError(t, receipt, err, tt.kind)
		})
	}
}

// RFC 5321 §3.8 has a server close behind a 421. Content is on its way already, and a
// server that goes on takes it: what it says of that counts.
func TestChunking_aServerThatGoesOnBehind421(t *testing.T) {
	const inline = "C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<c@example.com>\nC| RCPT TO:<d@example.com>\nC| BDAT 4 LAST\nC| hi\nS: 250 ok\n"
	for _, tt := range []struct{ rule, replies, outcomes string }{
		{"to one recipient, and takes the message for the others", "S: 250 ok\nS: 421 4.7.0 later\nS: 250 ok\nS: 250 taken\nHANG", "accepted 250; deferred 421 4.7.0; accepted 250"},
		{"and refuses the content", "S: 250 ok\nS: 421 4.7.0 later\nS: 250 ok\nS: 554 no\nHANG", "refused 554; deferred 421 4.7.0; refused 554"},
		{"and says it again", "S: 250 ok\nS: 421 4.7.0 later\nS: 421 4.7.0 later\nS: 421 4.7.1 gone\nHANG", "deferred 421 4.7.1; deferred 421 4.7.0; deferred 421 4.7.0"},
		{"and ends then", "S: 250 ok\nS: 421 4.7.0 later\nS: 250 ok\nCLOSE", "deferred 421 4.7.0; deferred 421 4.7.0; deferred 421 4.7.0"},
		{"and says nothing more", "S: 250 ok\nS: 421 4.7.0 later\nHANG", "deferred 421 4.7.0; deferred 421 4.7.0; deferred 421 4.7.0"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for name, options := range map[string][]func(*core.Config){"alone": nil, "on a session that is shared": {shared(16, 1)}} {
				t.Run(name, func(t *testing.T) {
					c := newClient(t, chunking+inline+tt.replies, smtptest.Options{}, options...)
					receipt, err := c.Send(t.Context(), message("b@example.com", "c@example.com", "d@example.com"))
					if got := outcomes(receipt); got != tt.outcomes {
						t.Errorf("outcomes %q, want %q (%v)", got, tt.outcomes, err)
					}
					checkDeliveryError(t, receipt, err, core.ErrDisconnected)
				})
			}
		})
	}
}

func TestChunking_aRefusedRecipientCostsNothing(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{BINARYMIME: true, Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		if strings.HasPrefix(to.Address, "x") {
			return smtptest.Reply("550 5.1.1 no")
		}
		return nil
	}})
	s, err := core.Dial(t.Context(), server.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"x@example.com", "b@example.com"} {
		m := message(to)
		m.Binary = true
		receipt, err := s.Send(t.Context(), m)
		if want := map[bool]string{true: "refused 550 5.1.1", false: "accepted 250 2.0.0"}[to[0] == 'x']; outcomes(receipt) != want {
			t.Errorf("%s: %s: %v", to, outcomes(receipt), err)
		}
	}
}

func TestChunking_afterAFailure(t *testing.T) {
	const inline = envelopeOnly + "C| BDAT 4 LAST\nC| hi\n"
	t.Run("H1 CHUNKING is masked for the endpoint once BDAT was not known", func(t *testing.T) {
		c := newClient(t, chunking+inline+twoOK+"S: 500 what\nHANG\n---\n"+chunking+envelope+goOn+sent+bye, smtptest.Options{})
		_, _ = c.Send(t.Context(), message("b@example.com"))
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(err)
		}
	})
	t.Run("RSET goes in front of the MAIL after a refused chunk", func(t *testing.T) {
		c := newClient(t, chunking+inline+twoOK+"S: 554 no\nC: RSET\n"+strings.Replace(inline, "C: MAIL", "C| MAIL", 1)+"S: 250 ok\n"+twoOK+"S: 250 ok"+bye, smtptest.Options{})
		_, _ = c.Send(t.Context(), message("b@example.com"))
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(err)
		}
	})
	t.Run("the caller can mask it", func(t *testing.T) {
		c := newClient(t, chunking+envelope+goOn+sent+bye, smtptest.Options{}, func(c *core.Config) { c.MaskExtensions = []string{"chunking"} })
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(err)
		}
	})
}

func TestChunking_content(t *testing.T) {
	large := bytes.Repeat([]byte(strings.Repeat("x", 78)+"\r\n"), 2000) // 160,000 octets
	largeLines := strings.Repeat("C| "+strings.Repeat("x", 78)+"\n", 2000)
	for _, tt := range []struct {
		rule    string
		body    core.Body
		binary  bool
		content string
	}{
		{"no dot is stuffed", core.String(".\r\n..\r\n"), false, envelopeOnly + "C| BDAT 7 LAST\nC| .\nC| ..\n" + twoOK + "S: 250 ok"},
		{"line ends are made right all the same, since the next hop may use DATA (G17)", core.String("a\nb"), false, envelopeOnly + "C| BDAT 6 LAST\nC| a\nC| b\n" + twoOK + "S: 250 ok"},
		{"empty content is a chunk of nothing", core.String(""), false, envelopeOnly + "C| BDAT 0 LAST\n" + twoOK + "S: 250 ok"},
		{"a small file is looked at first, so that its size is exact", core.File(writeFile(t, []byte("a\n"))), false, envelopeOnly + "C| BDAT 3 LAST\nC| a\n" + twoOK + "S: 250 ok"},
		{"large content leaves behind the replies to its envelope", core.Bytes(large), false, envelopeOnly + twoOK + "C: BDAT 160000 LAST\n" + largeLines + "S: 250 ok"},
		{"binary content leaves as it is (RFC 3030 §3)", core.String("a\r\n"), true,
			"C: MAIL FROM:<a@example.com> BODY=BINARYMIME\nC| RCPT TO:<b@example.com>\nC| BDAT 3 LAST\nC| a\n" + twoOK + "S: 250 ok"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			hello := chunking
			if tt.binary {
				hello = strings.Replace(chunking, "S: 250-8BITMIME", "S: 250-BINARYMIME", 1)
			}
			c := newClient(t, hello+tt.content+bye, smtptest.Options{OverTCP: len(tt.content) > 10000})
			m := message("b@example.com")
			m.Body, m.Binary = tt.body, tt.binary
			if _, err := c.Send(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("binary content without BINARYMIME is refused here", func(t *testing.T) {
		c := newClient(t, chunking+bye, smtptest.Options{})
		m := message("b@example.com")
		m.Binary = true
		_, err := c.Send(t.Context(), m)
		hasError(t, err, core.StagePolicy, core.Local, core.ErrNotSupported)
	})
}

func TestChunking_LMTP(t *testing.T) {
	hello := strings.Replace(chunking, "EHLO", "LHLO", 1)
	c := newClient(t, hello+`
		C: MAIL FROM:<a@example.com>
		C| RCPT TO:<b@example.com>
		C| RCPT TO:<c@example.com>
		C| RCPT TO:<d@example.com>
		C| BDAT 4 LAST
		C| hi
		S: 250 ok
		S: 250 ok
		S: 550 5.1.1 no
		S: 250 ok
		S: 250 ok
		S: 452 4.2.2 full`+bye, smtptest.Options{Protocol: core.LMTP})
	receipt, err := c.Send(t.Context(), message("b@example.com", "c@example.com", "d@example.com"))
	if got, want := outcomes(receipt), "accepted 250; refused 550 5.1.1; deferred 452 4.2.2"; got != want {
		t.Errorf("I7 outcomes %q, want %q (%v)", got, want, err)
	}
}

func TestPRDR_R5(t *testing.T) {
	const hello = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-PIPELINING\nS: 250-PRDR\n"
	const three = "C| RCPT TO:<b@example.com>\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<d@example.com>\n"
	replies := "S: 250 ok\n" + twoOK + "S: 250 ok\n"
	for _, tt := range []struct {
		rule, replies, outcomes string
		kind                    error
	}{
		{"each recipient has its own reply, the same one twice too", "S: 353 wait\nS: 250 ok\nS: 450 4.2.0 busy\nS: 550 5.7.1 no\nS: 250 some" + bye, "accepted 250; deferred 450 4.2.0; refused 550 5.7.1", nil},
		{"a last reply that is a refusal is one for all", "S: 353 wait\nS: 250 ok\nS: 250 ok\nS: 550 5.7.1 no\nS: 554 5.6.0 never" + bye, "refused 554 5.6.0; refused 554 5.6.0; refused 554 5.6.0", nil},
		{"a server may decide for all at once", "S: 250 2.0.0 ok" + bye, "accepted 250 2.0.0; accepted 250 2.0.0; accepted 250 2.0.0", nil},
		{"nothing is accepted before the last reply", "S: 353 wait\nS: 250 ok\nS: 250 ok\nCLOSE", "unknown; unknown; unknown", core.ErrUnknownOutcome},
	} {
		for mode, hello := range map[string]string{"DATA": hello + "S: 250 SIZE\n", "BDAT": hello + "S: 250 CHUNKING\n"} {
			t.Run(tt.rule+", "+mode, func(t *testing.T) {
				dialogue := hello + "C: MAIL FROM:<a@example.com> SIZE=4 PRDR\n" + three + "C| DATA\n" + replies + "S: 354 go on\nC: hi\nC| .\n" + tt.replies
				if mode == "BDAT" {
					dialogue = hello + "C: MAIL FROM:<a@example.com> PRDR\n" + three + "C| BDAT 4 LAST\nC| hi\n" + replies + tt.replies
				}
				c := newClient(t, dialogue, smtptest.Options{})
				m := message("b@example.com", "b@example.com", "d@example.com")
				m.PerRecipient = true
				receipt, err := c.Send(t.Context(), m)
				if got := outcomes(receipt); got != tt.outcomes {
					t.Errorf("outcomes %q, want %q (%v)", got, tt.outcomes, err)
				}
				checkDeliveryError(t, receipt, err, tt.kind)
			})
		}
	}
}

func TestChunking_unknownSize(t *testing.T) {
	content := bytes.Repeat([]byte(strings.Repeat("x", 78)+"\n"), 10_000) // 790,000 octets, 800,000 on the wire
	for _, tt := range []struct {
		rule string
		fail bool
	}{{"it arrives in chunks, the last of which says so", false}, {"if the reader fails no LAST is sent", true}} {
		t.Run(tt.rule, func(t *testing.T) {
			server := newBdatServer(t)
			c, err := core.NewClient(smtptest.AtDepth(server.config()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			broken := errors.New("disk on fire")
			m := message("b@example.com")
			m.Body = core.Reader(bytes.NewReader(content))
			if tt.fail {
				m.Body = core.Reader(&failingReader{rest: content, err: broken})
			}
			receipt, err := c.Send(t.Context(), m)
			_ = c.Close()
			if tt.fail {
				if !errors.Is(err, broken) || receipt.Recipients[0].Outcome != core.Refused || server.last() {
					t.Errorf("%s: %v", outcomes(receipt), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n"))
			if got, chunks := server.content(); !bytes.Equal(got, want) || fmt.Sprint(chunks) != "[262144 262144 262144 13568]" {
				t.Errorf("%d octets arrived in chunks of %v", len(got), chunks)
			}
		})
	}
}

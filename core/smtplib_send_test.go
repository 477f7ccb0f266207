package core_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// offers is a server that takes groups and announces extensions.
func offers(keywords ...string) string {
	hello := "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\n"
	for _, k := range keywords {
		hello += "S: 250-" + k + "\n"
	}
	return hello + "S: 250 PIPELINING\n"
}

// one is a transaction for b@example.com, with parameters of MAIL and content as
// it goes over the wire.
func one(params string, content ...string) string {
	lines := ""
	for n, line := range append(content, ".") {
		if n == 0 {
			lines += "C: " + line + "\n"
		} else {
			lines += "C| " + line + "\n"
		}
	}
	return "C: MAIL FROM:<a@example.com>" + params + "\nC| RCPT TO:<b@example.com>\nC| DATA\n" + goOn + lines + "S: 250 ok\n"
}

// sendsTo sends a message to a server that plays the dialogue, and checks the
// outcomes. The session goes on.
func sendsTo(t *testing.T, s *core.Session, m *core.Message, want string, kind error) error {
	t.Helper()
	receipt, err := s.Send(t.Context(), m)
	if got := outcomes(receipt); got != want {
		t.Errorf("outcomes %q, want %q (%v)", got, want, err)
	}
	checkDeliveryError(t, receipt, err, kind)
	return err
}

func TestSmtplib_32_SIZEIsThatOfTheContentBeforeDotsAreDoubled(t *testing.T) {
	m := message("b@example.com")
	m.Body = core.String(".\r\rx\ny")
	lines := []string{"..", "", "x", "y"} // 3+2+3+3 octets
	s, _ := mustHello(t, offers("SIZE 1000")+one(" SIZE=11", lines...))
	_ = sendsTo(t, s, m, "accepted 250", nil)
	s, _ = mustHello(t, offers()+one("", lines...))
	_ = sendsTo(t, s, m, "accepted 250", nil)
}

func TestSmtplib_33_optionsOfMAILAndRCPT(t *testing.T) {
	s, _ := mustHello(t, offers("SIZE", "DSN")+`
		C: MAIL FROM:<a@example.com> SIZE=4 RET=HDRS ENVID=x
		C| RCPT TO:<b@example.com> NOTIFY=NEVER
		C| RCPT TO:<c@example.com> NOTIFY=NEVER
		C| DATA
		S: 250 ok
	`+goOn+sent)
	m := message("b@example.com", "c@example.com")
	m.Params = []core.Param{core.ReturnHeaders(), core.EnvelopeID("x")}
	for i := range m.To {
		m.To[i].Params = []core.Param{core.NotifyNever()}
	}
	_ = sendsTo(t, s, m, "accepted 250; accepted 250", nil)
	m.Params = []core.Param{core.Parameter("SIZE", "SIZE", "4")} // the message's size is not the caller's to say
	_ = sendsTo(t, s, m, "refused; refused", nil)
}

func TestSmtplib_34_SMTPUTF8ThatIsNotOfferedIsNotSupported(t *testing.T) {
	for server, hello := range map[string]string{
		"EHLO": plain,
		"HELO": "S: 220 hi\nC: EHLO client.example\nS: 502 what\nC: HELO client.example\nS: 250-mx.example\nS: 250 SMTPUTF8\n",
	} {
		t.Run(server, func(t *testing.T) {
			s, _ := mustHello(t, hello+"C: NOOP\nS: 250 ok\n")
			hasError(t, s.Mail(t.Context(), "a@example.com", core.Parameter("SMTPUTF8", "SMTPUTF8", "")), core.StageMail, core.Local, core.ErrNotSupported)
			_ = sendsTo(t, s, message("ö@example.com"), "refused", core.ErrNotSupported)
			m := message("b@example.com")
			m.From = "ä@example.com"
			_ = sendsTo(t, s, m, "refused", core.ErrNotSupported)
			if err := s.Noop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSmtplib_34_aDomainHasAnASCIIForm(t *testing.T) {
	s, _ := mustHello(t, offers()+strings.Replace(one("", "hi"), "b@example.com", "b@xn--bcher-kva.example", 1))
	_ = sendsTo(t, s, message("b@bücher.example"), "accepted 250", nil)
}

func TestSmtplib_35_anAddressIsWhatStandsBetweenTheBrackets(t *testing.T) {
	s, _ := mustHello(t, offers()+strings.Replace(one("", "hi"), "a@example.com", "", 1))
	for _, bad := range []string{"Foo <f@example.com>", "<f@example.com>", "<>", "a b c", "a b c@example.com", "f@example.com>", " f@example.com"} {
		m := message("b@example.com")
		m.From = bad
		_ = sendsTo(t, s, m, "refused", nil)
		err := sendsTo(t, s, message(bad), "refused", nil)
		if e := hasError(t, err, core.StageRcpt, core.Local, nil); bad[:1] == "F" && !strings.Contains(e.Error(), "display name") {
			t.Errorf("error %q has no hint", e)
		}
		hasError(t, s.Mail(t.Context(), bad), core.StageMail, core.Local, nil)
	}
	m := message("b@example.com")
	m.From = "" // "<>"
	_ = sendsTo(t, s, m, "accepted 250", nil)
}

func TestSmtplib_36_MAILThatIsRefusedIsFollowedByRSET(t *testing.T) {
	for reply, want := range map[string]string{"550 5.7.1 not you": "refused 550 5.7.1", "451 4.3.0 later": "deferred 451 4.3.0"} {
		s, _ := mustHello(t, plain+"C: MAIL FROM:<a@example.com>\nS: "+reply+"\nC: RSET\nS: 250 ok\nC: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: DATA\nS: 354 go on\n"+sent)
		_ = sendsTo(t, s, message("b@example.com"), want, core.ErrSenderRefused)
		_ = sendsTo(t, s, message("b@example.com"), "accepted 250", nil)
	}
	t.Run("421 closes, without RSET", func(t *testing.T) {
		s, open := mustHello(t, plain+"C: MAIL FROM:<a@example.com>\nS: 421 4.3.2 bye\nHANG")
		err := sendsTo(t, s, message("b@example.com"), "deferred 421 4.3.2", core.ErrSenderRefused)
		if !errors.Is(err, core.ErrDisconnected) {
			t.Error(err)
		}
		isOpen(t, open, false)
	})
}

func TestSmtplib_36_any2yzIsSuccess(t *testing.T) {
	s, _ := mustHello(t, plain+"C: MAIL FROM:<a@example.com>\nS: 251 ok\nC: RCPT TO:<b@example.com>\nS: 200 ok\nC: DATA\nS: 354 go on\nC: hi\nC| .\nS: 299 ok\n")
	_ = sendsTo(t, s, message("b@example.com"), "accepted 299", nil)
}

func TestSmtplib_37_everyRecipientHasItsReply(t *testing.T) {
	t.Run("some are refused, and the others get the message", func(t *testing.T) {
		s, _ := mustHello(t, plain+`
			C: MAIL FROM:<a@example.com>
			S: 250 ok
			C: RCPT TO:<b@example.com>
			S: 250 ok
			C: RCPT TO:<c@example.com>
			S: 251 forwarded
			C: RCPT TO:<d@example.com>
			S: 252 who knows
			C: RCPT TO:<e@example.com>
			S: 550 5.1.1 no such user
			C: DATA
			S: 354 go on
		`+sent)
		receipt, err := s.Send(t.Context(), message("b@example.com", "c@example.com", "d@example.com", "e@example.com"))
		if got := outcomes(receipt); got != "accepted 250; accepted 250; accepted 250; refused 550 5.1.1" || !errors.Is(err, core.ErrRecipientRefused) {
			t.Errorf("%s: %v", got, err)
		}
		if got := receipt.Recipients[3].Reply.String(); got != "550 5.1.1 no such user" {
			t.Errorf("reply %q", got)
		}
	})
	t.Run("all are refused, one of them twice", func(t *testing.T) {
		s, _ := mustHello(t, plain+`
			C: MAIL FROM:<a@example.com>
			S: 250 ok
			C: RCPT TO:<b@example.com>
			S: 550 5.1.1 first
			C: RCPT TO:<b@example.com>
			S: 551 5.1.6 second
			C: RCPT TO:<c@example.com>
			S: 450 4.2.1 third
			C: RSET
			S: 250 ok
			C: MAIL FROM:<a@example.com>
			S: 250 ok
			C: RCPT TO:<b@example.com>
			S: 250 ok
			C: DATA
			S: 354 go on
		`+sent)
		_ = sendsTo(t, s, message("b@example.com", "b@example.com", "c@example.com"), "refused 550 5.1.1; refused 551 5.1.6; deferred 450 4.2.1", core.ErrRecipientRefused)
		_ = sendsTo(t, s, message("b@example.com"), "accepted 250", nil)
	})
}

func TestSmtplib_38_421ToRCPTCloses(t *testing.T) {
	s, open := mustHello(t, plain+`
		C: MAIL FROM:<a@example.com>
		S: 250 ok
		C: RCPT TO:<b@example.com>
		S: 250 ok
		C: RCPT TO:<c@example.com>
		S: 550 5.1.1 no
		C: RCPT TO:<d@example.com>
		S: 421 4.3.2 bye
		HANG
	`)
	_ = sendsTo(t, s, message("b@example.com", "c@example.com", "d@example.com", "e@example.com"),
		"deferred 421 4.3.2; refused 550 5.1.1; deferred 421 4.3.2; deferred 421 4.3.2", core.ErrDisconnected)
	isOpen(t, open, false)
}

func TestSmtplib_39_contentThatIsRefused(t *testing.T) {
	const begun = "C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: DATA\n"
	for _, tt := range []struct {
		rule, dialogue, want string
		open                 bool
	}{
		{"DATA refused: RSET", plain + begun + "S: 451 4.3.0 later\nC: RSET\nS: 250 ok\n" + begun + "S: 354 go on\n" + sent, "deferred 451 4.3.0", true},
		{"421 to DATA: close", plain + begun + "S: 421 4.3.2 bye\nHANG", "deferred 421 4.3.2", false},
		{"content refused: the transaction is over", plain + begun + "S: 354 go on\nC: hi\nC| .\nS: 554 5.7.1 spam\n" + begun + "S: 354 go on\n" + sent, "refused 554 5.7.1", true},
		{"421 to the content: close", plain + begun + "S: 354 go on\nC: hi\nC| .\nS: 421 4.3.2 bye\nHANG", "deferred 421 4.3.2", false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s, open := mustHello(t, tt.dialogue)
			_ = sendsTo(t, s, message("b@example.com"), tt.want, core.ErrContentRefused)
			isOpen(t, open, tt.open)
			if tt.open {
				_ = sendsTo(t, s, message("b@example.com"), "accepted 250", nil)
			}
		})
	}
}

func TestSmtplib_40_lineEndsAndDots(t *testing.T) {
	for content, wire := range map[string][]string{
		"a\rb\nc\r\nd\n\re\r": {"a", "b", "c", "d", "", "e"},
		".\r.\n.\r\n..x":      {"..", "..", "..", "...x"},
		"no end":              {"no end"},
		"\n":                  {""},
		"":                    nil,
	} {
		for name, body := range map[string]core.Body{"text": core.String(content), "octets": core.Bytes([]byte(content)), "a reader": core.Reader(strings.NewReader(content))} {
			s, _ := mustHello(t, offers()+one("", wire...))
			m := message("b@example.com")
			m.Body = body
			if _, err := s.Send(t.Context(), m); err != nil {
				t.Errorf("%s %q: %v", name, content, err)
			}
		}
	}
}

func TestSmtplib_41_aSecondMessageSendsNoSecondEHLO(t *testing.T) {
	s, _ := mustHello(t, offers()+one("", "hi")+one("", "hi"))
	c := newClient(t, offers()+one("", "hi")+one("", "hi")+bye, smtptest.Options{})
	for range 2 {
		_ = sendsTo(t, s, message("b@example.com"), "accepted 250", nil)
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(err)
		}
	}
}

package core_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/middleware/dialogue"
)

// readsTo checks the envelope of a message: "a@x -> b@x c@x".
func readsTo(t *testing.T, content, want string) *core.Message {
	t.Helper()
	m, err := core.ReadMessage([]byte(content))
	if err != nil {
		t.Fatalf("%q: %v", content, err)
	}
	got := m.From + " ->"
	for _, r := range m.To {
		got += " " + r.Address
	}
	if got != want {
		t.Errorf("%q: the envelope is %s, want %s", content, got, want)
	}
	return m
}

func TestSmtplib_42_theEnvelopeFromTheHeader(t *testing.T) {
	for header, want := range map[string]string{
		"From: a@x\nSender: s@x\nTo: b@x\n":                                   "s@x -> b@x",
		"From: A <a@x>, Z <z@x>\nTo: b@x\n":                                   "a@x -> b@x",
		"From: a@x\nFrom: z@x\nTo: b@x\n":                                     "a@x -> b@x",
		"From: a@x\nBcc: d@x\nCc: c@x\nTo: B <b@x>, Team: e@x, f@x;\n":        "a@x -> b@x e@x f@x c@x d@x",
		"From: a@x\nTo: b@x\nTo: c@x\nCc: d@x\nCc: e@x\nBcc: f@x\nBcc: g@x\n": "a@x -> b@x c@x d@x e@x f@x g@x",
	} {
		readsTo(t, header+"\nhi\n", want)
	}
	_, err := core.ReadMessage([]byte("To: b@x\n\nhi\n"))
	if e := hasError(t, err, core.StagePolicy, core.Local, nil); !strings.Contains(e.Error(), "neither Sender nor From") {
		t.Errorf("error %q", e)
	}
}

func TestSmtplib_43_resentFieldsReplaceThem(t *testing.T) {
	const original = "From: a@x\nSender: s@x\nTo: b@x\nCc: c@x\nBcc: d@x\n"
	readsTo(t, "Resent-Date: x\nResent-From: r@x\nResent-To: t@x\nResent-Cc: u@x\nResent-Bcc: v@x\n"+original+"\nhi\n", "r@x -> t@x u@x v@x")
	readsTo(t, "Resent-From: r@x\nResent-Sender: q@x\nResent-To: t@x\n"+original+"\nhi\n", "q@x -> t@x")
	_, err := core.ReadMessage([]byte("Resent-Date: x\nResent-From: r@x\nResent-To: t@x\nResent-Date: y\nResent-From: q@x\nResent-To: u@x\n" + original + "\nhi\n"))
	if e := hasError(t, err, core.StagePolicy, core.Local, nil); !strings.Contains(e.Error(), "second block of Resent-") {
		t.Errorf("error %q", e)
	}
}

func TestSmtplib_44_BccNeverLeaves(t *testing.T) {
	const content = "Resent-From: a@example.com\nResent-Bcc: c@x,\n d@x\nBCC: e@x\nSubject: hi\n\nBcc: text\n"
	octets := []byte(content)
	m, err := core.ReadMessage(octets)
	if err != nil {
		t.Fatal(err)
	}
	m.To = core.Recipients("b@example.com") // explicit ones change nothing
	s, _ := mustHello(t, offers()+one("", "Resent-From: a@example.com", "Subject: hi", "", "Bcc: text"))
	_ = sendsTo(t, s, m, "accepted 250", nil)
	if string(octets) != content {
		t.Errorf("the caller's message has become %q", octets)
	}
}

func TestSmtplib_45_SMTPUTF8IsForAddresses(t *testing.T) {
	const header = "From: ä@example.com\nTo: ö@example.com\n"
	m := readsTo(t, header+"\nhi\n", "ä@example.com -> ö@example.com")
	s, _ := mustHello(t, offers("8BITMIME", "SMTPUTF8")+`
		C: MAIL FROM:<ä@example.com> BODY=8BITMIME SMTPUTF8
		C| RCPT TO:<ö@example.com>
		C| DATA
	`+goOn+"C: From: ä@example.com\nC| To: ö@example.com\nC|\nC| hi\nC| .\nS: 250 ok\n")
	_ = sendsTo(t, s, m, "accepted 250", nil)

	s, _ = mustHello(t, offers("8BITMIME"))
	_ = sendsTo(t, s, m, "refused", core.ErrNotSupported)

	// A name alone needs nothing.
	const from, to = "From: =?utf-8?q?J=C3=BCrgen?= <a@example.com>", "To: =?utf-8?b?w7Y=?= <b@example.com>"
	m = readsTo(t, from+"\n"+to+"\n\nhi\n", "a@example.com -> b@example.com")
	for _, extensions := range [][]string{nil, {"8BITMIME", "SMTPUTF8"}} {
		s, _ = mustHello(t, offers(extensions...)+one("", from, to, "", "hi"))
		_ = sendsTo(t, s, m, "accepted 250", nil)
	}
}

func TestSmtplib_47_LMTP(t *testing.T) {
	if e := standardEndpoint(t, "lmtp+unix:///run/dovecot/lmtp"); e.Network != "unix" || e.Address != "/run/dovecot/lmtp" || e.Protocol != core.LMTP {
		t.Errorf("the endpoint is %+v", e)
	}
	s, _, err := dialCounted(t, `
		S: 220 hi
		C: LHLO client.example
		S: 250-lmtp.example
		S: 250 PIPELINING
		C: MAIL FROM:<a@example.com>
		C| RCPT TO:<b@example.com>
		C| RCPT TO:<c@example.com>
		C| RCPT TO:<d@example.com>
		C| DATA
		S: 250 ok
		S: 250 ok
		S: 550 5.1.1 no
		S: 250 ok
		S: 354 go on
		C: hi
		C| .
		S: 250 2.0.0 b
		S: 452 4.2.2 d
		C: NOOP
		S: 250 ok
	`, smtptest.Options{Protocol: core.LMTP})
	if err == nil {
		err = s.Hello(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := s.Send(t.Context(), message("b@example.com", "c@example.com", "d@example.com"))
	if got := outcomes(receipt); got != "accepted 250 2.0.0; refused 550 5.1.1; deferred 452 4.2.2" {
		t.Errorf("%s: %v", got, err)
	}
	if err := s.Noop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSmtplib_48_theDialogueIsShownWithoutCredentials(t *testing.T) {
	const want = `S: 220 hi
C: EHLO client.example
S: 250 mx.example / AUTH PLAIN
C: AUTH PLAIN [redacted]
S: 535 5.7.8 wrong: [redacted]
`
	for _, times := range []bool{false, true} {
		var b strings.Builder
		show, err := dialogue.New(dialogue.Config{Writer: &b, Times: times})
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := dialCounted(t, offersAuth("PLAIN")+"C: AUTH PLAIN AHJpZGVyAHNlc2FtZQ==\nS: 535 5.7.8 wrong: sesame\n", smtptest.Options{}, withInterceptors(show))
		if err == nil {
			err = s.Hello(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		hasError(t, s.Auth(t.Context(), mechanisms.Plain("rider", "sesame")), core.StageAuth, core.Permanent, core.ErrAuthentication)
		time := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{6} `)
		if got := b.String(); time.ReplaceAllString(got, "") != want || time.MatchString(got) != times {
			t.Errorf("shown is\n%s\nwant\n%s", got, want)
		}
	}
}

func TestSmtplib_49_kindsOfErrors(t *testing.T) {
	kinds := []error{
		core.ErrNotSupported, core.ErrDisconnected, core.ErrConnect, core.ErrHello, core.ErrAuthentication,
		core.ErrSenderRefused, core.ErrRecipientRefused, core.ErrContentRefused,
	}
	send := func(s *core.Session) error {
		_, err := s.Send(t.Context(), message("b@example.com"))
		return err
	}
	for _, tt := range []struct {
		dialogue string
		do       func(*core.Session) error // after Hello; nil if that fails
		kind     error
		reply    string // "": not of the server's making
	}{
		{"S: 554 away", nil, core.ErrConnect, "554 away"},
		{"S: 220 hi\nC: EHLO client.example\nS: 550 no\nC: HELO client.example\nS: 550 no", nil, core.ErrHello, "550 no"},
		{plain, func(s *core.Session) error { return s.StartTLS(t.Context()) }, core.ErrNotSupported, ""},
		{plain + "C: NOOP\nCLOSE", func(s *core.Session) error { return s.Noop(t.Context()) }, core.ErrDisconnected, ""},
		{offersAuth("PLAIN") + "C: AUTH PLAIN AHUAcA==\nS: 535 no", func(s *core.Session) error { return s.Auth(t.Context(), mechanisms.Plain("u", "p")) }, core.ErrAuthentication, "535 no"},
		{plain + "C: MAIL FROM:<a@example.com>\nS: 550 no", send, core.ErrSenderRefused, "550 no"},
		{plain + "C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 550 no", send, core.ErrRecipientRefused, "550 no"},
		{plain + "C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: DATA\nS: 554 no", send, core.ErrContentRefused, "554 no"},
	} {
		t.Run(tt.kind.Error(), func(t *testing.T) {
			s, _, err := dialCounted(t, tt.dialogue, smtptest.Options{})
			if err == nil {
				err = s.Hello(t.Context())
			}
			if tt.do != nil {
				if err != nil {
					t.Fatal(err)
				}
				err = tt.do(s)
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok {
				t.Fatalf("%v is no *core.Error", err)
			}
			if got := e.Reply.String(); got != tt.reply && (tt.reply != "" || e.Code() != 0) {
				t.Errorf("reply %q, want %q", got, tt.reply)
			}
			for _, kind := range kinds {
				if errors.Is(err, kind) != (kind == tt.kind) {
					t.Errorf("error %q is of the kind %q: %t", err, kind, errors.Is(err, kind))
				}
			}
		})
	}
}

package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// dial connects to a server that plays the dialogue.
func dial(t *testing.T, dialogue string) (*core.Session, error) {
	t.Helper()
	s, err := core.Dial(t.Context(), smtptest.NewScript(t, dialogue, smtptest.Options{}).Config())
	if s != nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

// mustDial is dial for tests of what comes after the greeting.
func mustDial(t *testing.T, dialogue string) *core.Session {
	t.Helper()
	s, err := dial(t, dialogue)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hasError checks the structure of an error.
func hasError(t *testing.T, err error, stage core.Stage, class core.Class, kind error) *core.Error {
	t.Helper()
	e, ok := errors.AsType[*core.Error](err)
	if !ok {
		t.Fatalf("error %v is no *core.Error", err)
	}
	if e.Stage != stage || e.Class != class {
		t.Errorf("error %q is %s and %s, want %s and %s", e, e.Stage, e.Class, stage, class)
	}
	if kind != nil && !errors.Is(err, kind) {
		t.Errorf("error %q is not of the kind %q", e, kind)
	}
	return e
}

func TestGreeting(t *testing.T) {
	for _, tt := range []struct {
		rule     string
		dialogue string
		class    core.Class // zero: no error
		kind     error
	}{
		{"220 is a greeting", "S: 220 mx.example ESMTP", 0, nil},
		{"A6 a greeting of 50 lines is accepted (RFC 5321 §4.2)", strings.Repeat("S: 220-hello\n", 49) + "S: 220 hello", 0, nil},
		{"A3 421 is temporary (RFC 5321 §3.8)", "S: 421 4.3.2 later", core.Temporary, core.ErrDisconnected},
		{"A4 554 is permanent (RFC 5321 §3.1)", "S: 554 5.7.1 go away", core.Permanent, core.ErrConnect},
		{"A5 521 is permanent (RFC 7504)", "S: 521 no mail here", core.Permanent, core.ErrConnect},
		{"A7 250 is a protocol error", "S: 250 mx.example", core.Temporary, core.ErrProtocol},
		{"A7 354 is a protocol error", "S: 354 mx.example", core.Temporary, core.ErrProtocol},
		{"A7 199 is a protocol error", "S: 199 mx.example", core.Temporary, core.ErrProtocol},
		{"A7 600 is a protocol error", "S: 600 mx.example", core.Temporary, core.ErrProtocol},
		{"A7 four digits are a protocol error", "S: 2200 mx.example", core.Temporary, core.ErrProtocol},
		{"A7 two digits are a protocol error", "S: 22 mx.example", core.Temporary, core.ErrProtocol},
		{"A7 an empty line is a protocol error", "S:", core.Temporary, core.ErrProtocol},
		{"A7 HTTP is a protocol error", "S: HTTP/1.1 400 Bad Request", core.Temporary, core.ErrProtocol},
		{"A7 SSH is a protocol error", "S: SSH-2.0-OpenSSH_9.2", core.Temporary, core.ErrProtocol},
		{"A7 TLS is a protocol error", `S~ "\x16\x03\x03\x00\x04\x0e\x00\x00\x00\n"`, core.Temporary, core.ErrProtocol},
		{"B9 a greeting that breaks off is an I/O error", "S: 220-mx.example\nCLOSE", core.Temporary, core.ErrDisconnected},
		{"a server that closes at once is an I/O error", "CLOSE", core.Temporary, core.ErrDisconnected},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s, err := dial(t, tt.dialogue)
			if tt.class == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if got := s.Peer().Greeting.Code; got != 220 {
					t.Errorf("Peer().Greeting.Code = %d", got)
				}
				return
			}
			hasError(t, err, core.StageConnect, tt.class, tt.kind)
			if s != nil {
				t.Error("a session was returned all the same")
			}
		})
	}
}

func TestHello(t *testing.T) {
	for _, tt := range []struct {
		rule       string
		dialogue   string
		extensions string // "KEYWORD param;" each
		class      core.Class
		kind       error
	}{
		{
			"EHLO announces extensions (RFC 5321 §4.1.1.1)",
			"C: EHLO client.example\nS: 250-mx.example hello\nS: 250-SIZE 1000\nS: 250 8BITMIME", "SIZE 1000;8BITMIME ;", 0, nil,
		},
		{
			"C1 an unknown EHLO is followed by HELO, and no extension (RFC 5321 §3.2)",
			"C: EHLO client.example\nS: 502 what\nC: HELO client.example\nS: 250-mx.example\nS: 250 SIZE 1000", "", 0, nil,
		},
		{
			"trap 12: both refused is a hello error that keeps both replies",
			"C: EHLO client.example\nS: 502 what\nC: HELO client.example\nS: 550 who", "", core.Permanent, core.ErrHello,
		},
		{
			"C2 421 to EHLO is not followed by HELO",
			"C: EHLO client.example\nS: 421 bye", "", core.Temporary, core.ErrDisconnected,
		},
		{
			"451 to EHLO is not followed by HELO",
			"C: EHLO client.example\nS: 451 later", "", core.Temporary, core.ErrHello,
		},
		{
			"B15 354 to EHLO is a protocol error",
			"C: EHLO client.example\nS: 354 go on", "", core.Temporary, core.ErrProtocol,
		},
		{
			"B3 codes that differ within the reply are a protocol error at once (RFC 5321 §4.2.1)",
			"C: EHLO client.example\nS: 250-mx.example\nS: 550 no\nHANG", "", core.Temporary, core.ErrProtocol,
		},
		{
			"B1 a line without end is cut off",
			"C: EHLO client.example\nS~ \"250-" + strings.Repeat("x", 20000) + "\"\nHANG", "", core.Temporary, core.ErrProtocol,
		},
		{
			"B2 a reply without end is cut off",
			"C: EHLO client.example\n" + strings.Repeat("S: 250-X-LONG\n", 2000) + "HANG", "", core.Temporary, core.ErrProtocol,
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := mustDial(t, "S: 220 mx.example ESMTP\n"+tt.dialogue)
			err := s.Hello(t.Context())
			if tt.class != 0 {
				hasError(t, err, core.StageHello, tt.class, tt.kind)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for keyword, param := range s.Peer().Extensions.All() {
				fmt.Fprintf(&got, "%s %s;", keyword, param)
			}
			if got.String() != tt.extensions {
				t.Errorf("extensions %q, want %q", got.String(), tt.extensions)
			}
		})
	}
}

func TestHello_bothRefusalsAreKept(t *testing.T) {
	s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 502 what\nC: HELO client.example\nS: 550 who")
	err := s.Hello(t.Context())
	for _, want := range []string{"502 what", "550 who"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

func TestHello_aLostConnectionAfterARefusalIsBoth(t *testing.T) {
	s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 502 what\nC: HELO client.example\nCLOSE")
	err := s.Hello(t.Context())
	hasError(t, err, core.StageHello, core.Temporary, core.ErrDisconnected)
	if !strings.Contains(err.Error(), "502 what") {
		t.Errorf("error %q lacks the refusal of EHLO", err)
	}
}

func TestReplyBeforeItsCommand_A9_B13(t *testing.T) {
	for _, tt := range []struct {
		rule, dialogue string
		kind           error
	}{
		{"a reply that came before its command is a protocol error", "S: 220 hi\nS: 250 mx.example\nHANG", core.ErrProtocol},
		{"an early 421 is a goodbye (RFC 5321 §3.8)", "S: 220 hi\nS: 421 bye\nHANG", core.ErrDisconnected},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := mustDial(t, tt.dialogue)
			err := s.Hello(t.Context())
			hasError(t, err, core.StageHello, core.Temporary, tt.kind)
			if err := s.Noop(t.Context()); !errors.Is(err, core.ErrDisconnected) {
				t.Errorf("the session lives on: %v", err)
			}
		})
	}
}

const ready = `
	S: 220 mx.example ESMTP
	C: EHLO client.example
	S: 250-mx.example
	S: 250 8BITMIME
`

func TestSession_plainCommands(t *testing.T) {
	s := mustDial(t, ready+`
		C: NOOP
		S: 250 fine
		C: VRFY someone
		S: 252 cannot say
		C: EXPN list
		S: 550 no such list
		C: HELP
		S: 214 see RFC 5321
		C: HELP MAIL
		S: 214-MAIL FROM
		S: 214 and so on
		C: RSET
		S: 250 flushed
		C: XYZZY
		S: 500 unknown
		C: QUIT
		S: 221 bye
	`)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Hello(ctx))
	must(s.Noop(ctx))
	for _, tt := range []struct {
		ask  func(context.Context, string) (core.Reply, error)
		of   string
		want string
	}{
		{s.Verify, "someone", "252 cannot say"},
		{s.Expand, "list", "550 no such list"},
		{s.Help, "", "214 see RFC 5321"},
		{s.Help, "MAIL", "214 MAIL FROM / and so on"},
	} {
		if reply, err := tt.ask(ctx, tt.of); err != nil || reply.String() != tt.want {
			t.Errorf("reply %q (%v), want %q", reply, err, tt.want)
		}
	}
	must(s.Reset(ctx))
	if reply, err := s.Command(ctx, "XYZZY", ""); err != nil || reply.Code != 500 {
		t.Errorf("Command returned %v, %v", reply, err)
	}
	must(s.Quit(ctx))
	if err := s.Noop(ctx); !errors.Is(err, core.ErrDisconnected) || !errors.Is(err, core.ErrClosed) {
		t.Errorf("Noop after Quit: %v", err)
	}
}

func TestSession_rawExtensions(t *testing.T) {
	s := mustDial(t, `
		S: 220 hi
		C: EHLO client.example
		S: 250-mx.example
		S: 250-ETRN
		S: 250-XFORWARD NAME ADDR
		S: 250 XCLIENT NAME ADDR
		C: ETRN example.com
		S: 253 ok, pending messages
		C: XFORWARD NAME=spike.example ADDR=192.0.2.1
		S: 250 ok
		# XCLIENT starts the session anew.
		C: XCLIENT NAME=spike.example ADDR=192.0.2.1
		S: 220 mx.example again
		C: EHLO client.example
		S: 250-mx.example
		S: 250 SIZE
		C: MAIL FROM:<a@example.com>
		S: 250 ok
	`)
	ctx := t.Context()
	if err := s.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"ETRN", "example.com"}, {"XFORWARD", "NAME=spike.example ADDR=192.0.2.1"}, {"XCLIENT", "NAME=spike.example ADDR=192.0.2.1"}} {
		if reply, err := s.Command(ctx, c[0], c[1]); err != nil || !reply.Positive() {
			t.Fatal(c, reply, err)
		}
	}
	if s.Peer().Extensions.Has("XCLIENT") || s.Peer().Greeting.Text != "mx.example again" {
		t.Errorf("what was learnt before XCLIENT is still believed: %+v", s.Peer())
	}
	hasError(t, s.Mail(ctx, "a@example.com"), core.StageMail, core.Local, nil)
	if err := s.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Mail(ctx, "a@example.com"); err != nil {
		t.Fatal(err)
	}
}

func TestSession_nothingThatHoldsALineEndIsWritten_F15(t *testing.T) {
	s := mustDial(t, ready)
	ctx := t.Context()
	if err := s.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\r", "\n", "\x00", "\r\nQUIT"} {
		_, err := s.Command(ctx, "VRFY", "a"+bad)
		hasError(t, err, core.StageCommand, core.Local, nil)
		_, err = s.Command(ctx, "X"+bad, "")
		hasError(t, err, core.StageCommand, core.Local, nil)
		hasError(t, s.Mail(ctx, "a"+bad+"@example.com"), core.StageMail, core.Local, nil)
		hasError(t, s.Mail(ctx, "a@example.com", core.Parameter("", "X", "y"+bad)), core.StageMail, core.Local, nil)
	}
}

func TestSession_commandsWithStateOfTheirOwnAreNotRaw(t *testing.T) {
	s := mustDial(t, "S: 220 hi")
	for _, verb := range []string{"EHLO", "starttls", "Auth", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT", "", ".", "MAIL FROM:<>"} {
		_, err := s.Command(t.Context(), verb, "")
		hasError(t, err, core.StageCommand, core.Local, nil)
	}
}

func TestSession_orderIsChecked(t *testing.T) {
	s := mustDial(t, ready+"C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 550 no")
	ctx := t.Context()
	hasError(t, s.Mail(ctx, "a@example.com"), core.StageMail, core.Local, nil)
	if err := s.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := s.Rcpt(ctx, "b@example.com")
	hasError(t, err, core.StageRcpt, core.Local, nil)
	if err := s.Mail(ctx, "a@example.com"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Data(ctx, core.String("x"))
	hasError(t, err, core.StageContent, core.Local, nil)
	reply, err := s.Rcpt(ctx, "b@example.com")
	hasError(t, err, core.StageRcpt, core.Permanent, core.ErrRecipientRefused)
	if reply.Code != 550 {
		t.Errorf("reply %v", reply)
	}
	_, err = s.Data(ctx, core.String("x"))
	hasError(t, err, core.StageContent, core.Local, nil)
	hasError(t, s.StartTLS(ctx), core.StageTLS, core.Local, nil)
}

func TestSession_transactionByHand(t *testing.T) {
	s := mustDial(t, ready+`
		C: MAIL FROM:<> BODY=8BITMIME
		S: 250 ok
		C: RCPT TO:<b@example.com>
		S: 251 forwarded
		C: DATA
		S: 354 go on
		C: hello
		C| ..
		C| .
		S: 250 queued as 42
		# A refused sender is followed by RSET before the next MAIL (Postfix
		# keeps refusing otherwise).
		C: MAIL FROM:<bad@example.com>
		S: 550 no
		C: RSET
		S: 250 ok
		C: MAIL FROM:<good@example.com>
		S: 250 ok
	`)
	ctx := t.Context()
	if err := s.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Mail(ctx, "", core.Parameter("8BITMIME", "BODY", "8BITMIME")); err != nil {
		t.Fatal(err)
	}
	if reply, err := s.Rcpt(ctx, "b@example.com"); err != nil || reply.Text != "forwarded" {
		t.Fatal(reply, err)
	}
	replies, err := s.Data(ctx, core.String("hello\n.\n"))
	if err != nil || len(replies) != 1 || replies[0].Text != "queued as 42" {
		t.Fatal(replies, err)
	}
	hasError(t, s.Mail(ctx, "bad@example.com"), core.StageMail, core.Permanent, core.ErrSenderRefused)
	if err := s.Mail(ctx, "good@example.com"); err != nil {
		t.Fatal(err)
	}
}

func TestSession_Send(t *testing.T) {
	s := mustDial(t, ready+`
		C: MAIL FROM:<a@example.com>
		S: 250 ok
		C: RCPT TO:<b@example.com>
		S: 250 ok
		C: RCPT TO:<c@example.com>
		S: 550 5.1.1 no
		C: DATA
		S: 354 go on
		C: hi
		C| .
		S: 250 queued as 42
		C: NOOP
		S: 250 ok
	`)
	receipt, err := s.Send(t.Context(), message("b@example.com"))
	if got := outcomes(receipt); got != "refused" || err == nil {
		t.Errorf("before Hello: %s: %v", got, err)
	}
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	receipt, err = s.Send(t.Context(), message("b@example.com", "c@example.com"))
	if got := outcomes(receipt); got != "accepted 250; refused 550 5.1.1" || !errors.Is(err, core.ErrRecipientRefused) || receipt.QueueID() != "42" {
		t.Errorf("%s: %v", got, err)
	}
	if err := s.Noop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSession_unannouncedParametersAreNotSent_F22(t *testing.T) {
	s := mustDial(t, ready)
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := s.Mail(t.Context(), "a@example.com", core.Parameter("DSN", "RET", "HDRS"))
	hasError(t, err, core.StageMail, core.Local, core.ErrNotSupported)
}

func TestSession_concurrentUseIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: NOOP\nHANG")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Noop(ctx) }()
		synctest.Wait()
		if err := s.Noop(t.Context()); !errors.Is(err, core.ErrBusy) {
			t.Errorf("second call: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("first call: %v", err)
		}
	})
}

func TestSession_closeInterruptsTheCallThatIsRunning_J6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: NOOP\nHANG")
		done := make(chan error)
		go func() { done <- s.Noop(t.Context()) }()
		synctest.Wait()
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := <-done; !errors.Is(err, core.ErrDisconnected) {
			t.Errorf("the call that was running: %v", err)
		}
		if err := s.Noop(t.Context()); !errors.Is(err, core.ErrDisconnected) {
			t.Errorf("a later call: %v", err)
		}
	})
}

func TestSession_aReplyThatDripsDoesNotRestartItsClock_A10(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := dial(t, `S~ "220-"
			DRIP 5s x`)
		e := hasError(t, err, core.StageConnect, core.Temporary, nil)
		if !e.Timeout() || errors.Is(err, core.ErrDisconnected) {
			t.Errorf("error %v is not a timeout", err)
		}
		if took := time.Since(start); took != 5*time.Minute {
			t.Errorf("gave up after %v, want 5m (RFC 5321 §4.5.3.2.1)", took)
		}
	})
}

func TestSession_addressesThatAreNotASCII(t *testing.T) {
	const utf8 = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250 SMTPUTF8\n"
	ctx := t.Context()
	hello := func(dialogue string) *core.Session {
		s := mustDial(t, dialogue)
		if err := s.Hello(ctx); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := hello(utf8 + "C: MAIL FROM:<ä@example.com> SMTPUTF8\nS: 250 ok\nC: RCPT TO:<ö@example.com>\nS: 250 ok")
	if err := s.Mail(ctx, "ä@example.com"); err != nil {
		t.Error(err)
	}
	if _, err := s.Rcpt(ctx, "ö@example.com"); err != nil {
		t.Error(err)
	}
	s = hello(utf8 + "C: MAIL FROM:<a@example.com>\nS: 250 ok")
	if err := s.Mail(ctx, "a@example.com"); err != nil {
		t.Error(err)
	}
	_, err := s.Rcpt(ctx, "ö@example.com")
	hasError(t, err, core.StageRcpt, core.Local, nil)
	s = hello(ready + "C: MAIL FROM:<a@xn--bcher-kva.example>\nS: 250 ok")
	hasError(t, s.Mail(ctx, "ä@example.com"), core.StageMail, core.Local, core.ErrNotSupported)
	if err := s.Mail(ctx, "a@bücher.example"); err != nil {
		t.Error(err)
	}
}

func TestSession_theZeroValueIsNotConnected(t *testing.T) {
	var s core.Session
	if err := s.Noop(t.Context()); !errors.Is(err, core.ErrDisconnected) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

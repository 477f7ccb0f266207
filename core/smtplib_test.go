package core_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// The tests TestSmtplib_NN say, line by line, what Python's smtplib does that a
// program may rely on, and what is done here. Where that differs the test says
// what docs/smtplib.md says.

// counted is a transport that counts its connections that are open.
type counted struct {
	core.Transport
	open *atomic.Int32
}

func (c counted) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := c.Transport.Dial(ctx, e)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return countedConn{conn, sync.OnceFunc(func() { c.open.Add(-1) })}, nil
}

type countedConn struct {
	net.Conn
	closed func()
}

func (c countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// dialCounted connects to a server that plays the dialogue, and counts the
// connections that are open.
func dialCounted(t *testing.T, dialogue string, options smtptest.Options, change ...func(*core.Config)) (*core.Session, *atomic.Int32, error) {
	t.Helper()
	config, open := smtptest.NewScript(t, dialogue, options).Config(), new(atomic.Int32)
	config.Transports = []core.Transport{counted{config.Transports[0], open}}
	for _, f := range change {
		f(&config)
	}
	s, err := core.Dial(t.Context(), config)
	if s != nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, open, err
}

// mustHello returns a session with a server that plays the dialogue, when hello
// was said.
func mustHello(t *testing.T, dialogue string) (*core.Session, *atomic.Int32) {
	t.Helper()
	s, open, err := dialCounted(t, dialogue, smtptest.Options{})
	if err == nil {
		err = s.Hello(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, open
}

// isOpen checks whether a connection is open.
func isOpen(t *testing.T, open *atomic.Int32, want bool) {
	t.Helper()
	if got := open.Load() > 0; got != want {
		t.Errorf("the connection is open: %t, want %t", got, want)
	}
}

func TestSmtplib_10_theLinesOfAReplyAreJoinedByNewline(t *testing.T) {
	s, open := mustHello(t, plain+"C: HELP\nS: 214-one\nS: 214-\nS: 214 three\nC: HELP\nS: 214-one\nS: 250 two\nHANG")
	reply, err := s.Help(t.Context(), "")
	if err != nil || reply.Code != 214 || reply.Text != "one\n\nthree" {
		t.Errorf("reply %#v: %v", reply, err)
	}
	// Codes that differ are an error.
	_, err = s.Help(t.Context(), "")
	hasError(t, err, core.StageCommand, core.Temporary, core.ErrProtocol)
	isOpen(t, open, false)
}

func TestSmtplib_11_aLineWithoutAThreeDigitCodeIsAProtocolError(t *testing.T) {
	for _, line := range []string{"hello", "25", "25 ok", "2500 ok", "250ok", "-50 ok", ""} {
		s, open := mustHello(t, plain+"C: NOOP\nS: "+line+"\nHANG")
		hasError(t, s.Noop(t.Context()), core.StageCommand, core.Temporary, core.ErrProtocol)
		isOpen(t, open, false)
	}
}

func TestSmtplib_12_aBareCodeIsAReplyWithEmptyText(t *testing.T) {
	s, _ := mustHello(t, plain+"C: NOOP\nS: 250\nC: VRFY x\nS: 252\n")
	if err := s.Noop(t.Context()); err != nil {
		t.Error(err)
	}
	if reply, err := s.Verify(t.Context(), "x"); err != nil || reply != (core.Reply{Code: 252}) {
		t.Errorf("reply %#v: %v", reply, err)
	}
}

func TestSmtplib_13_theEndOfTheStreamIsADisconnect(t *testing.T) {
	for _, end := range []string{"CLOSE", "S~ \"250-o\"\nCLOSE", "S: 250-ok\nCLOSE"} {
		s, open := mustHello(t, plain+"C: NOOP\n"+end)
		hasError(t, s.Noop(t.Context()), core.StageCommand, core.Temporary, core.ErrDisconnected)
		isOpen(t, open, false)
		if err := s.Noop(t.Context()); !errors.Is(err, core.ErrDisconnected) {
			t.Errorf("afterwards: %v", err)
		}
	}
}

func TestSmtplib_14_aLineThatIsTooLongIsAProtocolError(t *testing.T) {
	const most = 12288 - len("214 \r\n")
	s, open := mustHello(t, plain+"C: HELP\nS: 214 "+strings.Repeat("x", most)+"\nC: HELP\nS: 214 "+strings.Repeat("x", most+1)+"\nHANG")
	if reply, err := s.Help(t.Context(), ""); err != nil || len(reply.Text) != most {
		t.Errorf("%d octets of text: %v", len(reply.Text), err)
	}
	_, err := s.Help(t.Context(), "")
	e := hasError(t, err, core.StageCommand, core.Temporary, core.ErrProtocol)
	if !strings.Contains(e.Error(), "line too long") {
		t.Errorf("error %q", e)
	}
	isOpen(t, open, false)
}

func TestSmtplib_15_whatHoldsALineEndOrNULIsRefusedAndNothingWritten(t *testing.T) {
	s, open := mustHello(t, plain+"C: NOOP\nS: 250 ok\n")
	ctx := t.Context()
	for _, bad := range []string{"\r", "\n", "\r\n", "\x00", "\r\nQUIT"} {
		_, err := s.Command(ctx, "X"+bad, "")
		hasError(t, err, core.StageCommand, core.Local, nil)
		for _, ask := range []func(context.Context, string) (core.Reply, error){s.Verify, s.Expand, s.Help} {
			_, err = ask(ctx, "x"+bad+"y")
			hasError(t, err, core.StageCommand, core.Local, nil)
		}
		hasError(t, s.Mail(ctx, "a@example.com"+bad), core.StageMail, core.Local, nil)
		hasError(t, s.Mail(ctx, "a@example.com", core.Parameter("", "X", "y"+bad)), core.StageMail, core.Local, nil)
		hasError(t, s.Mail(ctx, "a@example.com", core.Parameter("", "X"+bad, "")), core.StageMail, core.Local, nil)
		receipt, err := s.Send(ctx, message("b@example.com"+bad))
		hasError(t, err, core.StageRcpt, core.Local, nil)
		if got := outcomes(receipt); got != "refused" {
			t.Error(got)
		}
		config := untouchableConfig(t)
		config.LocalName = "client" + bad
		_, err = core.NewClient(config)
		hasError(t, err, core.StageConfig, core.Local, nil)
	}
	if err := s.Noop(ctx); err != nil {
		t.Error(err)
	}
	isOpen(t, open, true)
}

func TestSmtplib_16_aCommandWithoutArgumentHasNoSpaceBehindIt(t *testing.T) {
	s, _ := mustHello(t, plain+"C: XYZZY\nS: 500 what\nC: XYZZY plugh 2\nS: 250 ok\n")
	if reply, err := s.Command(t.Context(), "XYZZY", ""); err != nil || reply.String() != "500 what" {
		t.Errorf("reply %q: %v", reply, err)
	}
	if reply, err := s.Command(t.Context(), "XYZZY", "plugh 2"); err != nil || reply.String() != "250 ok" {
		t.Errorf("reply %q: %v", reply, err)
	}
}

func TestSmtplib_17_HELPReturnsTheTextAndVRFYAndEXPNSendTheBareAddress(t *testing.T) {
	s, _ := mustHello(t, plain+"C: HELP\nS: 214 see RFC 5321\nC: VRFY b@example.com\nS: 252 who knows\nC: EXPN list@example.com\nS: 250-<b@example.com>\nS: 250 <c@example.com>\n")
	for _, tt := range []struct {
		ask      func(context.Context, string) (core.Reply, error)
		of, want string
	}{
		{s.Help, "", "see RFC 5321"},
		{s.Verify, "b@example.com", "who knows"},
		{s.Expand, "list@example.com", "<b@example.com>\n<c@example.com>"},
	} {
		if reply, err := tt.ask(t.Context(), tt.of); err != nil || reply.Text != tt.want {
			t.Errorf("text %q, want %q: %v", reply.Text, tt.want, err)
		}
	}
}

func TestSmtplib_18_keywordsOfEHLO(t *testing.T) {
	s, _ := mustHello(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-Size 100\nS: 250-auth PLAIN\nS: 250-SIZE 200\nS: 250-AUTH plain XOAUTH2\nS: 250-AUTH=LOGIN\nS: 250 x-own a  b\n")
	extensions := &s.Peer().Extensions
	for keyword, want := range map[string]string{"size": "200", "AUTH": "PLAIN XOAUTH2 LOGIN", "X-Own": "a b"} {
		if got, ok := extensions.Param(keyword); !ok || !strings.EqualFold(got, want) {
			t.Errorf("%s is %q, want %q", keyword, got, want)
		}
	}
	if got := strings.Join(extensions.Mechanisms(), " "); got != "PLAIN XOAUTH2 LOGIN" {
		t.Errorf("mechanisms %s", got)
	}
	if extensions.Has("mx.example") || extensions.Has("AUTH=LOGIN") {
		t.Error("there are keywords that are none")
	}
}

func TestSmtplib_19_EHLOThatIsRefusedIsFollowedByHELO(t *testing.T) {
	t.Run("after HELO no ESMTP option is sent", func(t *testing.T) {
		s, _ := mustHello(t, "S: 220 hi\nC: EHLO client.example\nS: 502 what\nC: HELO client.example\nS: 250-mx.example\nS: 250 SIZE 100\nC: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: DATA\nS: 354 go on\n"+sent)
		if _, err := s.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(err)
		}
	})
	t.Run("HELO refused is a hello error", func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 502 what\nC: HELO client.example\nS: 550 who\n")
		if e := hasError(t, s.Hello(t.Context()), core.StageHello, core.Permanent, core.ErrHello); e.Reply.String() != "550 who" {
			t.Errorf("reply %q", e.Reply)
		}
	})
	t.Run("EHLO refused for a time is not followed by HELO", func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 451 later\n")
		hasError(t, s.Hello(t.Context()), core.StageHello, core.Temporary, core.ErrHello)
	})
}

func TestSmtplib_20_anEHLOThatFailedDoesNotPreventALaterOne(t *testing.T) {
	s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 451 later\nC: EHLO client.example\nS: 502 what\nC: HELO client.example\nS: 250 mx.example\nC: EHLO client.example\nS: 250-mx.example\nS: 250 SIZE\n")
	hasError(t, s.Hello(t.Context()), core.StageHello, core.Temporary, core.ErrHello)
	for _, size := range []bool{false, true} {
		if err := s.Hello(t.Context()); err != nil || s.Peer().Extensions.Has("SIZE") != size {
			t.Errorf("SIZE is announced: %t, want %t: %v", !size, size, err)
		}
	}
}

func TestSmtplib_21_whatEHLOSaidIsForgotten(t *testing.T) {
	t.Run("after STARTTLS, whatever becomes of the next EHLO", func(t *testing.T) {
		server, trust := smtptest.NewCertificate(t, "server.example")
		s, _, err := dialCounted(t, startTLS+"S: 220 go\nTLS\nC: EHLO client.example\nS: 451 later\n", smtptest.Options{TLS: server}, func(c *core.Config) { c.TLS = trust })
		if err == nil {
			err = s.Hello(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		hasError(t, s.StartTLS(t.Context()), core.StageHello, core.Temporary, core.ErrHello)
		if s.Peer().Extensions.Has("PIPELINING") || s.Peer().Domain != "" {
			t.Error("what was announced in the clear is still believed")
		}
		hasError(t, s.Mail(t.Context(), "a@example.com"), core.StageMail, core.Local, nil)
	})
	t.Run("after QUIT the session is over, and another one knows nothing", func(t *testing.T) {
		config := smtptest.NewScript(t, pipelining+bye+"---\nS: 220 hi\n", smtptest.Options{}).Config()
		for _, first := range []bool{true, false} {
			s, err := core.Dial(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.Peer().Extensions.Has("PIPELINING") {
				t.Error("an extension is known before EHLO")
			}
			if !first {
				break
			}
			if err := errors.Join(s.Hello(t.Context()), s.Quit(t.Context())); err != nil {
				t.Error(err)
			}
			hasError(t, s.Mail(t.Context(), "a@example.com"), core.StageConnect, core.Temporary, core.ErrDisconnected)
		}
	})
}

package core_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// standardEndpoint has the standard transports read a URL.
func standardEndpoint(t *testing.T, rawURL string) core.Endpoint {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range transport.Standard() {
		if tr.Scheme() == u.Scheme {
			e, err := tr.Endpoint(u)
			if err != nil {
				t.Error(err)
			}
			return e
		}
	}
	t.Fatalf("no transport for %s", rawURL)
	return core.Endpoint{}
}

func TestSmtplib_01_aBannerOtherThan220IsAConnectError(t *testing.T) {
	for banner, class := range map[string]core.Class{"554 5.7.1 go away": core.Permanent, "421 4.3.2 later": core.Temporary, "450 busy": core.Temporary} {
		_, open, err := dialCounted(t, "S: "+banner+"\nHANG", smtptest.Options{})
		if e := hasError(t, err, core.StageConnect, class, core.ErrConnect); e.Reply.String() != banner {
			t.Errorf("reply %q, want %q", e.Reply, banner)
		}
		isOpen(t, open, false)
	}
	// A banner that would be success elsewhere is a protocol error.
	_, open, err := dialCounted(t, "S: 250 mx.example\nHANG", smtptest.Options{})
	if e := hasError(t, err, core.StageConnect, core.Temporary, core.ErrProtocol); !strings.Contains(e.Error(), "250 mx.example") {
		t.Errorf("error %q", e)
	}
	isOpen(t, open, false)

	s, _, err := dialCounted(t, "S: 220-mx.example\nS: 220 ESMTP\n", smtptest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Peer().Greeting; got.Code != 220 || got.Text != "mx.example\nESMTP" {
		t.Errorf("greeting %#v", got)
	}
}

func TestSmtplib_02_ports(t *testing.T) {
	for rawURL, want := range map[string]string{
		"smtp://mail.example.com":      "mail.example.com:25",
		"smtps://mail.example.com":     "mail.example.com:465",
		"lmtp://mail.example.com":      "mail.example.com:24",
		"lmtp://mail.example.com:2003": "mail.example.com:2003",
	} {
		if got := standardEndpoint(t, rawURL).Address; got != want {
			t.Errorf("%s leads to %s, want %s", rawURL, got, want)
		}
	}
}

func TestSmtplib_03_hostAndPortStandInOneString(t *testing.T) {
	if got := standardEndpoint(t, "smtp://mail.example.com:2525").Address; got != "mail.example.com:2525" {
		t.Errorf("the address is %s", got)
	}
	for _, port := range []string{"smtp", "25x", "-1", "70000"} {
		config := core.Config{Endpoint: "smtp://mail.example.com:" + port, Transports: transport.Standard()}
		_, clientErr := core.NewClient(config)
		_, sessionErr := core.Dial(t.Context(), config)
		for _, err := range []error{clientErr, sessionErr} {
			if e := hasError(t, err, core.StageConfig, core.Local, nil); !strings.Contains(e.Error(), "port") {
				t.Errorf("error %q does not speak of the port", e)
			}
		}
	}
}

func TestSmtplib_04_anIPv6LiteralStandsInBrackets(t *testing.T) {
	for rawURL, want := range map[string]string{
		"smtp://[::1]": "[::1]:25", "smtp://[::1]:25": "[::1]:25", "smtps://[2001:db8::1]": "[2001:db8::1]:465", "smtp://[2001:db8::1]:587": "[2001:db8::1]:587",
	} {
		if e := standardEndpoint(t, rawURL); e.Address != want || e.ServerName != strings.Trim(want[:strings.LastIndex(want, ":")], "[]") {
			t.Errorf("%s leads to %+v, want %s", rawURL, e, want)
		}
	}
}

func TestSmtplib_05_aZeroTimeoutIsTheDefaultAndANegativeOneNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, open, err := dialCounted(t, "HANG", smtptest.Options{})
		if e := hasError(t, err, core.StageConnect, core.Temporary, nil); !e.Timeout() || time.Since(start) != 5*time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		isOpen(t, open, false)
	})
	synctest.Test(t, func(t *testing.T) {
		if _, _, err := dialCounted(t, "PAUSE 240h\nS: 220 hi\n", smtptest.Options{}, func(c *core.Config) { c.Timeouts.Greeting = -1 }); err != nil {
			t.Error(err)
		}
	})
}

func TestSmtplib_06_aReadThatTimesOutIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, open, err := dialCounted(t, "S: 220 hi\nC: NOOP\nHANG", smtptest.Options{}, func(c *core.Config) { c.Timeouts.Command = 7 * time.Second })
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		e := hasError(t, s.Noop(t.Context()), core.StageCommand, core.Temporary, os.ErrDeadlineExceeded)
		if !e.Timeout() || errors.Is(e, core.ErrDisconnected) || time.Since(start) != 7*time.Second {
			t.Errorf("after %v: %v", time.Since(start), e)
		}
		isOpen(t, open, false)
	})
}

func TestSmtplib_07_theConnectionComesFromTheSourceAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	if err != nil {
		t.Fatal(err)
	}
	source := other.Addr()
	_ = other.Close()
	from := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			from <- err.Error()
			return
		}
		defer conn.Close()
		from <- conn.RemoteAddr().String()
		fmt.Fprint(conn, "220 hi\r\n")
		_, _ = conn.Read(make([]byte, 1))
	}()
	s, err := core.Dial(t.Context(), core.Config{
		Endpoint:   "smtp://" + l.Addr().String(),
		Transports: []core.Transport{transport.SMTP(transport.TCP{Dialer: &net.Dialer{LocalAddr: source}})},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-from; got != source.String() {
		t.Errorf("the connection comes from %s, want %s", got, source)
	}
	_ = s.Close()
}

func TestSmtplib_08_theNameOfThisHost(t *testing.T) {
	literal := `\[127\.0\.0\.1\]|\[IPv6:::1\]`
	own, err := os.Hostname()
	if err == nil && strings.Contains(own, ".") {
		literal = regexp.QuoteMeta(own)
	}
	for name, want := range map[string]string{"": literal, "mail.example.com": `mail\.example\.com`, "[192.0.2.1]": `\[192\.0\.2\.1\]`} {
		s, _, err := dialCounted(t, "S: 220 hi\nC/ EHLO ("+want+")\nS: 250 mx.example\n", smtptest.Options{OverTCP: true}, func(c *core.Config) { c.LocalName = name })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Hello(t.Context()); err != nil {
			t.Errorf("as %q: %v", name, err)
		}
	}
}

func TestSmtplib_09_withoutAConnectionEverythingIsADisconnect(t *testing.T) {
	// There is no session before it is connected.
	config := smtptest.NewScript(t, pipelining+bye, smtptest.Options{}).Config()
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if none, err := core.Dial(t.Context(), config); none != nil || !errors.Is(err, core.ErrDisconnected) {
		t.Errorf("a server that refuses connections: %v", err)
	}
	ctx := t.Context()
	if err := errors.Join(s.Hello(ctx), s.Quit(ctx)); err != nil {
		t.Fatal(err)
	}
	_, rcptErr := s.Rcpt(ctx, "b@example.com")
	_, dataErr := s.Data(ctx, core.String("x"))
	_, sendErr := s.Send(ctx, message("b@example.com"))
	_, commandErr := s.Command(ctx, "XYZZY", "")
	for n, err := range []error{
		s.Hello(ctx), s.Noop(ctx), s.Reset(ctx), s.StartTLS(ctx), s.Auth(ctx, named("X-NONE")), s.Mail(ctx, "a@example.com"), s.Quit(ctx),
		rcptErr, dataErr, sendErr, commandErr,
	} {
		if !errors.Is(err, core.ErrDisconnected) || !strings.Contains(err.Error(), "no connection") {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestSmtplib_46_quitAndClose(t *testing.T) {
	t.Run("quit closes", func(t *testing.T) {
		s, open := mustHello(t, plain+"C: QUIT\nS: 221 bye\nHANG")
		if err := s.Quit(t.Context()); err != nil {
			t.Error(err)
		}
		isOpen(t, open, false)
	})
	t.Run("also if the server hangs up or objects, which is an error", func(t *testing.T) {
		for _, answer := range []string{"CLOSE", "S: 421 bye\nHANG", "S: 500 never\nHANG"} {
			s, open := mustHello(t, plain+"C: QUIT\n"+answer)
			if err := s.Quit(t.Context()); err == nil {
				t.Errorf("%s: no error", answer)
			}
			isOpen(t, open, false)
		}
	})
	t.Run("a session's Close closes without a word", func(t *testing.T) {
		s, open := mustHello(t, plain)
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		isOpen(t, open, false)
	})
	t.Run("a client's Close says QUIT, and does not mind a server that hangs up", func(t *testing.T) {
		for _, answer := range []string{"S: 221 bye\nHANG", "CLOSE", "S: 421 bye\nHANG"} {
			c := newClient(t, pipelining+envelope+goOn+sent+"C: QUIT\n"+answer, smtptest.Options{})
			if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("the caller's error is not hidden", func(t *testing.T) {
		config := smtptest.NewScript(t, pipelining+"C: MAIL FROM:<a@example.com>\nS: 550 no\n", smtptest.Options{}).Config()
		err := func(ctx context.Context) error {
			s, err := core.Dial(ctx, config)
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.Hello(ctx); err != nil {
				return err
			}
			if err := s.Mail(ctx, "a@example.com"); err != nil {
				return err
			}
			return s.Quit(ctx)
		}(t.Context())
		hasError(t, err, core.StageMail, core.Permanent, core.ErrSenderRefused)
	})
}

package core_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/transport"
)

// What is left of the catalogue of faulty servers, by its numbers. The others
// stand where their subject is tested.

func TestHostile_connect(t *testing.T) {
	t.Run("A1 a server that says nothing: the greeting's timeout, temporary (RFC 5321 §4.5.3.2.1)", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, err := dial(t, "HANG")
			if e := hasError(t, err, core.StageConnect, core.Temporary, nil); !e.Timeout() || time.Since(start) != 5*time.Minute {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	})
	t.Run("A2 the first of several addresses is dead: the next one is tried (RFC 5321 §5.1)", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if conn, err := l.Accept(); err == nil {
				fmt.Fprint(conn, "220 hi\r\n")
				conn.Close()
			}
		}()
		// "localhost" leads to ::1, where nobody listens, and to 127.0.0.1.
		_, port, _ := net.SplitHostPort(l.Addr().String())
		s, err := core.Dial(t.Context(), core.Config{Endpoint: "smtp://localhost:" + port, Transports: transport.Standard()})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
	})
	t.Run("A2 nobody listens: temporary", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		_, err = core.Dial(t.Context(), core.Config{Endpoint: "smtp://" + l.Addr().String(), Transports: transport.Standard()})
		hasError(t, err, core.StageConnect, core.Temporary, core.ErrDisconnected)
	})
}

func TestHostile_capabilities(t *testing.T) {
	t.Run("C6 more keywords than a reply may have", func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: EHLO client.example\n"+strings.Repeat("S: 250-X-KEYWORD\n", 10_000)+"HANG")
		hasError(t, s.Hello(t.Context()), core.StageHello, core.Temporary, core.ErrProtocol)
	})
	t.Run("C6 a keyword with a value of a megabyte", func(t *testing.T) {
		s := mustDial(t, "S: 220 hi\nC: EHLO client.example\nS: 250-X "+strings.Repeat("x", 1<<20)+"\nHANG")
		hasError(t, s.Hello(t.Context()), core.StageHello, core.Temporary, core.ErrProtocol)
	})
	for _, tt := range []struct {
		rule, dialogue, outcome string
		kind                    error
		protocol                core.Protocol
	}{
		{"C8 PIPELINING announced, and only the first command answered", pipelining + envelope + "S: 250 ok\nCLOSE", "deferred", core.ErrDisconnected, core.SMTP},
		{"C9 LHLO refused by an SMTP server: no fall-back to SMTP (RFC 2033 §4.1)", "S: 220 hi\nC: LHLO client.example\nS: 500 what", "refused 500", core.ErrHello, core.LMTP},
		{"C9 EHLO refused by an LMTP server", "S: 220 hi\nC: EHLO client.example\nS: 500 use LHLO\nC: HELO client.example\nS: 500 use LHLO", "refused 500", core.ErrHello, core.SMTP},
		{"F1 421 to MAIL is temporary and closes", plain + "C: MAIL FROM:<a@example.com>\nS: 421 bye\nHANG", "deferred 421", core.ErrDisconnected, core.SMTP},
		{"F1 450 to MAIL is temporary", plain + "C: MAIL FROM:<a@example.com>\nS: 450 later" + bye, "deferred 450", core.ErrSenderRefused, core.SMTP},
		{"F1 452 to MAIL is temporary", plain + "C: MAIL FROM:<a@example.com>\nS: 452 full" + bye, "deferred 452", core.ErrSenderRefused, core.SMTP},
		{"F1 552 to MAIL is permanent", plain + "C: MAIL FROM:<a@example.com>\nS: 552 5.3.4 too large" + bye, "refused 552 5.3.4", core.ErrSenderRefused, core.SMTP},
		{"F1 555 to MAIL is permanent", plain + "C: MAIL FROM:<a@example.com>\nS: 555 5.5.4 parameter" + bye, "refused 555 5.5.4", core.ErrSenderRefused, core.SMTP},
		{"F2 530 to MAIL: authentication is wanted (RFC 4954 §6)", plain + "C: MAIL FROM:<a@example.com>\nS: 530 5.7.0 authenticate" + bye, "refused 530 5.7.0", core.ErrSenderRefused, core.SMTP},
		{"F2 SIZE accepted at MAIL and refused later is permanent there", pipelining + envelope + goOn + "C: hi\nC| .\nS: 552 5.3.4 too large" + bye, "refused 552 5.3.4", core.ErrContentRefused, core.SMTP},
		{"F20 a mailbox that takes no UTF-8 is permanent (RFC 6531 §3.5)", plain + "C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 553 5.6.7 not here" + bye, "refused 553 5.6.7", core.ErrRecipientRefused, core.SMTP},
		{"I5 all recipients refused over LMTP: no DATA (RFC 2033 §4.2)", strings.Replace(plain, "EHLO", "LHLO", 1) + "C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 550 no" + bye, "refused 550", core.ErrRecipientRefused, core.LMTP},
		{"I6 a reply of several lines for a recipient", strings.Replace(pipelining, "EHLO", "LHLO", 1) + envelope + goOn + "C: hi\nC| .\nS: 250-2.0.0 stored\nS: 250 2.0.0 <b@example.com>" + bye, "accepted 250 2.0.0", nil, core.LMTP},
		{"H6 250 to a chunk and 552 to the last is a refusal", chunking + envelopeOnly + "C| BDAT 4 LAST\nC| hi\n" + twoOK + "S: 552 5.3.4 too large" + bye, "refused 552 5.3.4", core.ErrContentRefused, core.SMTP},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := newClient(t, tt.dialogue, smtptest.Options{Protocol: tt.protocol})
			receipt, err := c.Send(t.Context(), message("b@example.com"))
			if got := outcomes(receipt); got != tt.outcome {
				t.Errorf("outcome %q, want %q (%v)", got, tt.outcome, err)
			}
			checkDeliveryError(t, receipt, err, tt.kind)
		})
	}
}

func TestHostile_TLS(t *testing.T) {
	server, trust := smtptest.NewCertificate(t, "server.example")
	withTrust := func(c *core.Config) { c.TLS = trust }
	t.Run("C10 D9 what was announced before TLS is not believed after it (RFC 3207 §4.2)", func(t *testing.T) {
		dialogue := "S: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250-SIZE 10\nS: 250-PIPELINING\nS: 250-AUTH PLAIN\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nTLS\nC: EHLO client.example\nS: 250 mx\n" +
			"C: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: DATA\nS: 354 go on\nC: longer than ten octets\nC| .\nS: 250 ok" + bye
		c := newClient(t, dialogue, smtptest.Options{Remote: true, TLS: server}, withTrust)
		m := message("b@example.com")
		m.Body = core.String("longer than ten octets\r\n")
		receipt, err := c.Send(t.Context(), m)
		if err != nil || receipt.Peer.Extensions.Has("AUTH") || receipt.Peer.Extensions.Has("SIZE") {
			t.Error(err)
		}
	})
	t.Run("D2 clear text that comes later ends the handshake", func(t *testing.T) {
		c := newClient(t, startTLS+"S: 220 go\nPAUSE 1ms\nS: 250 AUTH PLAIN\nIGNORE", smtptest.Options{Remote: true, OverTCP: true}, withTrust)
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if receipt.Count(core.Accepted) != 0 || receipt.Peer != nil {
			t.Error(outcomes(receipt), err)
		}
	})
	t.Run("D11 the end of the connection without close_notify, after a whole reply, is fine", func(t *testing.T) {
		c := newClient(t, startTLS+"S: 220 go\nTLS\nC: EHLO client.example\nS: 250-mx\nS: 250 PIPELINING\n"+envelope+goOn+sent+"RESET", smtptest.Options{Remote: true, TLS: server, OverTCP: true}, withTrust)
		if receipt, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(outcomes(receipt), err)
		}
	})
	t.Run("D13 session tickets on an idle session do not condemn it", func(t *testing.T) {
		dialogue := startTLS + "S: 220 go\nTLS\nC: EHLO client.example\nS: 250-mx\nS: 250 PIPELINING\n" + envelope + goOn + sent + envelope + goOn + sent + bye
		c := newClient(t, dialogue, smtptest.Options{Remote: true, TLS: server, OverTCP: true}, func(c *core.Config) {
			c.TLS = trust.Clone()
			c.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(4)
		})
		for range 2 {
			if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("D14 STARTTLS is alone in its write (RFC 3207 §4)", func(t *testing.T) {
		c := newClient(t, offersTLS+"C: STARTTLS\nPAUSE 1ms\nS: 220 go\nTLS\nC: EHLO client.example\nS: 250 mx\nC: MAIL FROM:<a@example.com>\nS: 550 no"+bye, smtptest.Options{Remote: true, TLS: server}, withTrust)
		if receipt, err := c.Send(t.Context(), message("b@example.com")); outcomes(receipt) != "refused 550" {
			t.Error(err)
		}
	})
}

func TestHostile_content(t *testing.T) {
	t.Run("B17 G5 a server that floods with replies and reads nothing does not block for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, pipelining+envelope+goOn+strings.Repeat("S: 250 flood\n", 10_000)+"STALL", smtptest.Options{})
			m := message("b@example.com")
			m.Body = core.Bytes(make([]byte, 1<<20))
			receipt, err := c.Send(t.Context(), m)
			if got := outcomes(receipt); got != "deferred" {
				t.Error(got, err)
			}
		})
	})
	t.Run("G6 a server that takes content too slowly runs into the timeout of a write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, pipelining+envelope+goOn+"PAUSE 4m\nIGNORE", smtptest.Options{})
			m := message("b@example.com")
			m.Body = core.Bytes(make([]byte, 1<<20))
			receipt, err := c.Send(t.Context(), m)
			if e := hasError(t, err, core.StageContent, core.Temporary, os.ErrDeadlineExceeded); !e.Timeout() || outcomes(receipt) != "deferred" {
				t.Error(outcomes(receipt), err)
			}
		})
	})
	t.Run("H2 H3 a chunk that is refused, or the end of the connection behind one, ends the content", func(t *testing.T) {
		for reply, want := range map[string]string{"S: 452 4.3.1 full\nC: QUIT\nS: 221 bye": "deferred 452 4.3.1", "S: 552 5.3.4 no\nC: QUIT\nS: 221 bye": "refused 552 5.3.4", "CLOSE": "deferred"} {
			dialogue := strings.Replace(chunking, "S: 250-8BITMIME\n", "", 1) + "C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\n" + twoOK + "C: BDAT 262144\n" + strings.Repeat("C| "+strings.Repeat("x", 62)+"\n", 4096) + reply
			c := newClient(t, dialogue, smtptest.Options{OverTCP: true})
			m := message("b@example.com")
			m.Body = core.Reader(strings.NewReader(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 5000)))
			receipt, err := c.Send(t.Context(), m)
			if got := outcomes(receipt); got != want {
				t.Errorf("%s: %s, want %s: %v", reply, got, want, err)
			}
		}
	})
	t.Run("H7 DATA never follows BDAT in a transaction (RFC 3030 §2)", func(t *testing.T) {
		c := newClient(t, chunking+envelopeOnly+"C| BDAT 4 LAST\nC| hi\n"+twoOK+"S: 451 later\nC: RSET\n"+
			strings.Replace(envelopeOnly, "C: MAIL", "C| MAIL", 1)+"C| BDAT 4 LAST\nC| hi\nS: 250 ok\n"+twoOK+"S: 250 ok"+bye, smtptest.Options{})
		_, _ = c.Send(t.Context(), message("b@example.com"))
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Error(err)
		}
	})
	t.Run("I3 more replies than recipients: those that are due stand, and the session is over", func(t *testing.T) {
		lmtp := strings.Replace(pipelining, "EHLO", "LHLO", 1)
		c := newClient(t, lmtp+envelope+goOn+sent+"S: 550 and one more\nIGNORE\n---\n"+lmtp+envelope+goOn+sent+bye, smtptest.Options{Protocol: core.LMTP})
		for range 2 {
			if receipt, err := c.Send(t.Context(), message("b@example.com")); err != nil {
				t.Error(outcomes(receipt), err)
			}
		}
	})
}

func TestHostile_F21_recipientsAsGiven(t *testing.T) {
	c := newClient(t, pipelining+"C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\nC| RCPT TO:<b@example.com>\nC| DATA\nS: 250 ok\n"+goOn+sent+bye, smtptest.Options{})
	receipt, err := c.Send(t.Context(), message("b@example.com", "b@example.com"))
	if got := outcomes(receipt); got != "accepted 250; accepted 250" {
		t.Error(got, err)
	}
}

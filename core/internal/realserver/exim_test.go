package realserver

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

// contentForExim is content without the bare CR, which Exim does not keep.
func contentForExim(subject string) string {
	return strings.ReplaceAll(content(subject), "CR \r.", "no CR.")
}

func TestExim(t *testing.T) {
	e := StartExim(t)
	extensions := []string{"SIZE 134217728", "8BITMIME", "DSN", "VRFY", "EXPN", "PIPELINING", "PIPECONNECT", "CHUNKING",
		"PRDR", "SMTPUTF8", "HELP"}
	// envelope opens a session and a transaction for recipients of which each must be accepted.
	envelope := func(t *testing.T, params string, recipients ...string) *dialogue {
		t.Helper()
		d := dial(t, e.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<me@example.com>"+params, "250 ")
		for _, recipient := range recipients {
			d.say("RCPT TO:<"+recipient+">", "250 ")
		}
		return d
	}

	t.Run("without TLS", func(t *testing.T) {
		d := dial(t, e.Addr, nil)
		offers(t, d.say("EHLO client.example.test", "250 "), append(slices.Clone(extensions), "STARTTLS")...)
		d.send("me@example.com", "alice@example.test", contentForExim("plain"))
		d.say("QUIT", "221 ")
		message := arrived(t, e, "alice@example.test", contentForExim("plain"))
		if !strings.HasPrefix(message, "Return-path: <me@example.com>\n") || !strings.Contains(message, " with esmtp (Exim ") {
			t.Errorf("the trace fields do not tell of the sender and SMTP without TLS: %q", message)
		}
	})

	t.Run("STARTTLS", func(t *testing.T) {
		d := dial(t, e.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("STARTTLS", "220 ")
		d.over(tls.Client(d.conn, &tls.Config{RootCAs: e.RootCAs, ServerName: "localhost"}))
		offers(t, d.say("EHLO client.example.test", "250 "), extensions...)
		d.send("me@example.com", "bob@example.test", contentForExim("STARTTLS"))
		d.say("QUIT", "221 ")
		if message := arrived(t, e, "bob@example.test", contentForExim("STARTTLS")); !strings.Contains(message, " with esmtps ") {
			t.Errorf("the field Received does not tell of TLS: %q", message)
		}
	})

	for _, name := range []string{"localhost", "mail.example.test", "127.0.0.1", "::1"} {
		t.Run("implicit TLS as "+name, func(t *testing.T) {
			d := dial(t, e.TLSAddr, &tls.Config{RootCAs: e.RootCAs, ServerName: name})
			offers(t, d.say("EHLO client.example.test", "250 "), extensions...)
			mailbox := fmt.Sprintf("carol-%x@example.test", name)
			d.send("me@example.com", mailbox, contentForExim(name))
			d.say("QUIT", "221 ")
			arrived(t, e, mailbox, contentForExim(name))
		})
	}

	t.Run("refusals", func(t *testing.T) {
		d := dial(t, e.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<"+RefusedSender+">", "550 5.7.1 ")
		d.say("MAIL FROM:<me@example.com> SIZE=134217729", "552 ")
		d.say("MAIL FROM:<me@example.com>", "250 ")
		d.say("RCPT TO:<"+RefusedRecipient+">", "550 5.1.1 ")
		d.say("RCPT TO:<"+DeferredRecipient+">", "450 4.2.0 ")
		d.say("RCPT TO:<you@example.net>", "550 5.7.1 ")
		d.say("RCPT TO:<made-up@example.test>", "250 ")
		d.data(RefusedField + "yes\r\n\r\n")
		d.expect("554 5.6.0 ")
		d.say("VRFY made-up@example.test", "250 ")
		d.say("EXPN made-up@example.test", "250 ")
		d.say("QUIT", "221 ")
		e.Settle(t)
		e.WaitMessages(t, "made-up@example.test", 0)
	})

	t.Run("SMTPUTF8 and odd addresses", func(t *testing.T) {
		d := envelope(t, " SMTPUTF8 BODY=8BITMIME", "Zoë@example.test", `"a b"@example.test`)
		d.data(contentForExim("Zoë"))
		d.expect("250 ")
		d.say("QUIT", "221 ")
		if message := arrived(t, e, "Zoë@example.test", contentForExim("Zoë")); !strings.Contains(message, " with utf8esmtp ") {
			t.Errorf("the field Received does not tell of SMTPUTF8: %q", message)
		}
		arrived(t, e, `"a b"@example.test`, contentForExim("Zoë"))
	})

	t.Run("BDAT in one chunk", func(t *testing.T) {
		d := envelope(t, " BODY=8BITMIME", "dave@example.test")
		sent := contentForExim("chunk")
		d.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(sent), sent))
		if reply := d.expect("250 OK id="); !strings.HasPrefix(reply, fmt.Sprintf("250- %d byte chunk", len(sent))) {
			t.Errorf("the reply to the last chunk is %q", reply)
		}
		d.say("QUIT", "221 ")
		arrived(t, e, "dave@example.test", sent)
	})

	t.Run("BDAT in two chunks, pipelined", func(t *testing.T) {
		d := dial(t, e.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		sent := contentForExim("chunks")
		d.write(fmt.Sprintf("MAIL FROM:<me@example.com> BODY=8BITMIME\r\nRCPT TO:<erin@example.test>\r\nBDAT 20\r\n%sBDAT %d LAST\r\n%s",
			sent[:20], len(sent)-20, sent[20:]))
		for _, want := range []string{"250 OK", "250 Accepted", "250 20 byte chunk received", "250 OK id="} {
			d.expect(want)
		}
		d.say("QUIT", "221 ")
		arrived(t, e, "erin@example.test", sent)
	})

	// Each is a list of recipients, and the replies to the content: 353, one for each of them, and the final one.
	prdr := map[string]struct{ recipients, replies []string }{
		"some": {[]string{"some@example.test", PRDRRefusedRecipient, PRDRDeferredRecipient, "more@example.test"},
			[]string{"353 ", "250 PRDR R=<some@", "550 5.7.1 ", "450 4.7.1 ", "250 PRDR R=<more@", "250 id="}},
		"all": {[]string{"all@example.test", "everyone@example.test"},
			[]string{"353 ", "250 PRDR R=<all@", "250 PRDR R=<everyone@", "250 id="}},
		"none": {[]string{PRDRRefusedRecipient, PRDRRefusedRecipient}, []string{"353 ", "550 5.7.1 ", "550 5.7.1 ", "550 id="}},
		// What the final reply says here is not so.
		"none, for different reasons": {[]string{PRDRRefusedRecipient, PRDRDeferredRecipient},
			[]string{"353 ", "550 5.7.1 ", "450 4.7.1 ", "250 id="}},
		"the same twice": {[]string{"twice@example.test", PRDRRefusedRecipient, "twice@example.test", PRDRRefusedRecipient},
			[]string{"353 ", "250 PRDR R=<twice@", "550 5.7.1 ", "250 PRDR R=<twice@", "550 5.7.1 ", "250 id="}},
		"one recipient": {[]string{"single@example.test"}, []string{"250 OK id="}},
	}
	for name, c := range prdr {
		for command, send := range map[string]func(*dialogue, string){"DATA": (*dialogue).data, "BDAT": (*dialogue).bdat} {
			t.Run("PRDR with "+command+", "+name, func(t *testing.T) {
				d := envelope(t, " PRDR BODY=8BITMIME", c.recipients...)
				sent := contentForExim(t.Name())
				send(d, sent)
				for _, want := range c.replies {
					d.expect(want)
				}
				d.say("NOOP", "250 ") // there was no further reply
				d.say("QUIT", "221 ")
				_ = d.conn.Close()
				e.Settle(t)
				for i, recipient := range c.recipients {
					reply := c.replies[min(i+1, len(c.replies)-1)]
					messages, err := e.Messages(recipient)
					got := 0
					for _, message := range messages {
						if strings.Contains(string(message), t.Name()) {
							got++
						}
					}
					if want := strings.HasPrefix(reply, "250 "); err != nil || (got == 1) != want || got > 1 {
						t.Errorf("%d messages have arrived for %s, whose reply is %q (%v)", got, recipient, reply, err)
					}
				}
			})
		}
	}

	t.Run("PRDR, refused after all", func(t *testing.T) {
		d := envelope(t, " PRDR", "frank@example.test", PRDRRefusedRecipient)
		d.data(RefusedField + "yes\r\n\r\n")
		for _, want := range []string{"353 ", "250 PRDR R=<frank@", "550 5.7.1 ", "554 5.6.0 "} {
			d.expect(want)
		}
		d.say("QUIT", "221 ")
		e.Settle(t)
		e.WaitMessages(t, "frank@example.test", 0)
	})

	t.Run("content refused by PRDR only", func(t *testing.T) {
		d := envelope(t, "", "grace@example.test", PRDRRefusedRecipient)
		d.data("Subject: without PRDR\r\n\r\n")
		d.expect("250 OK id=")
		d.say("QUIT", "221 ")
		arrived(t, e, "grace@example.test", "Subject: without PRDR\r\n\r\n")
	})

	t.Run("DSN", func(t *testing.T) {
		d := dial(t, e.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<heidi@example.test> RET=HDRS ENVID=R+2B1", "250 ")
		d.say("RCPT TO:<ivan@example.test> NOTIFY=SUCCESS ORCPT=rfc822;i+2Bvan@example.com", "250 ")
		d.say("RCPT TO:<judy@example.test> NOTIFY=NEVER", "250 ")
		d.data("Subject: DSN\r\n\r\n")
		d.expect("250 ")
		d.say("QUIT", "221 ")
		_ = d.conn.Close()
		arrived(t, e, "ivan@example.test", "Subject: DSN\r\n\r\n")
		arrived(t, e, "judy@example.test", "Subject: DSN\r\n\r\n")
		report := string(e.WaitMessages(t, "heidi@example.test", 1)[0])
		for _, want := range []string{"Original-Envelope-ID: R", "Original-Recipient: rfc822;i", "Action: delivered\n"} {
			if !strings.Contains(report, want) {
				t.Errorf("the report lacks %q: %q", want, report)
			}
		}
		e.Settle(t)
		e.WaitMessages(t, "heidi@example.test", 1)
	})

	t.Run("Settle sees what arrives", func(t *testing.T) {
		d := dial(t, e.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		const several = 20
		for range several {
			d.send("me@example.com", "kim@example.test", contentForExim("settle"))
		}
		d.say("QUIT", "221 ")
		_ = d.conn.Close()
		e.Settle(t)
		messages, err := e.Messages("kim@example.test")
		if err != nil || len(messages) != several {
			t.Errorf("after Settle %d messages have arrived instead of %d (%v)", len(messages), several, err)
		}
	})

	t.Run("Settle after a cut", func(t *testing.T) {
		for _, reset := range []bool{false, true} {
			d := dial(t, e.Addr, nil)
			d.say("EHLO client.example.test", "250 ")
			// With PIPELINING the server may not have read a thing when the connection ends.
			d.write("MAIL FROM:<me@example.com>\r\nRCPT TO:<leo@example.test>\r\nDATA\r\nSubject: cut\r\n\r\nhalf a mess")
			if reset {
				if err := d.conn.(*net.TCPConn).SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			_ = d.conn.Close()
			e.Settle(t)
			if sessions, err := e.daemon.others(); len(sessions) > 0 || err != nil {
				t.Errorf("after Settle there are still %q (%v)", sessions, err)
			}
			e.WaitMessages(t, "leo@example.test", 0)
		}
		if cut := strings.Count(e.Log(), " lost while reading message data"); cut != 2 {
			t.Errorf("the server has seen %d of 2 connections break in the content:\n%s", cut, e.Log())
		}
	})

	t.Run("Settle sees what is not at rest", func(t *testing.T) {
		d := envelope(t, "", "mia@example.test")
		connected(t, e.ports, 1)
		if sessions, err := e.daemon.others(); len(sessions) != 1 {
			t.Errorf("an open session is seen as %q (%v)", sessions, err)
		}
		d.say("QUIT", "221 ")
		_ = d.conn.Close()
		e.Settle(t)
		// A message without its content stays in the queue.
		path := e.path("spool/input/1xVUfG-0006TP-2H-H")
		if err := writeFile(path, "", 0o600); err != nil {
			t.Fatal(err)
		}
		if queued, err := e.queued(); len(queued) != 1 {
			t.Errorf("a message in the queue is seen as %q (%v)", queued, err)
		}
	})

	t.Run("Messages wants an address", func(t *testing.T) {
		if _, err := e.Messages("alice"); err == nil {
			t.Error("a local part is taken for a mailbox")
		}
	})
}

package realserver

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

func TestDovecot(t *testing.T) {
	d := StartDovecot(t)
	for network, address := range map[string]string{"TCP": d.Addr, "Unix": d.Socket} {
		t.Run(network, func(t *testing.T) { testLMTP(t, d, address, strings.ToLower(network)) })
	}

	t.Run("Messages wants an address", func(t *testing.T) {
		if _, err := d.Messages("alice"); err == nil {
			t.Error("a local part is taken for a mailbox")
		}
	})
}

// testLMTP tests one of the listeners. Each has mailboxes of its own, whose names have something in front.
func testLMTP(t *testing.T, s *Dovecot, address, prefix string) {
	// envelope opens a session and a transaction for recipients of which each must be accepted.
	envelope := func(t *testing.T, recipients ...string) *dialogue {
		t.Helper()
		d := dial(t, address, nil)
		d.say("LHLO client.example.test", "250 ")
		d.say("MAIL FROM:<me@example.com> BODY=8BITMIME", "250 2.1.0 ")
		for _, recipient := range recipients {
			d.say("RCPT TO:<"+recipient+">", "250 2.1.5 ")
		}
		return d
	}
	mailbox := func(name string) string { return prefix + "-" + name + "@example.test" }

	t.Run("one recipient", func(t *testing.T) {
		d := dial(t, address, nil)
		d.say("EHLO client.example.test", "500 ")
		reply := d.say("LHLO client.example.test", "250 ")
		offers(t, reply, "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "PIPELINING")
		d.send("me@example.com", mailbox("Alice"), content("one"))
		d.say("QUIT", "221 2.0.0 ")
		message := arrived(t, s, mailbox("alice"), content("one"))
		if !strings.Contains(message, "\nDelivered-To: "+mailbox("Alice")+"\n") {
			t.Errorf("the trace fields do not tell of the recipient: %q", message)
		}
	})

	t.Run("several outcomes", func(t *testing.T) {
		for command, send := range map[string]func(*dialogue, string){"DATA": (*dialogue).data, "BDAT": (*dialogue).bdat} {
			bob, carol := mailbox("bob-"+command), mailbox("carol-"+command)
			d := envelope(t, bob)
			d.say("RCPT TO:<"+RefusedRecipient+">", "550 5.1.1 ")
			d.say("RCPT TO:<"+FullRecipient+">", "250 2.1.5 ")
			d.say("RCPT TO:<"+BrokenRecipient+">", "250 2.1.5 ")
			d.say("RCPT TO:<"+DeferredRecipient+">", "451 4.3.0 ")
			d.say("RCPT TO:<"+carol+">", "250 2.1.5 ")
			send(d, content(command))
			for _, want := range []string{
				"250 2.0.0 <" + bob + ">", "552 5.2.2 <" + FullRecipient + ">",
				"451 4.2.0 <" + BrokenRecipient + ">", "250 2.0.0 <" + carol + ">",
			} {
				d.expect(want)
			}
			d.say("QUIT", "221 2.0.0 ") // there was no further reply
			arrived(t, s, bob, content(command))
			arrived(t, s, carol, content(command))
			s.WaitMessages(t, FullRecipient, 0)
		}
	})

	t.Run("no recipient", func(t *testing.T) {
		d := envelope(t)
		d.say("RCPT TO:<"+RefusedRecipient+">", "550 5.1.1 ")
		d.say("RCPT TO:<you@example.net>", "550 5.1.1 ")
		d.say("DATA", "503 5.5.0 ")
		d.say("RSET", "250 2.0.0 ")
		d.say("MAIL FROM:<me@example.com> SIZE=1", "555 5.5.4 ")
		d.say("QUIT", "221 2.0.0 ")
	})

	t.Run("the same recipient twice", func(t *testing.T) {
		twice := mailbox("twice")
		d := envelope(t, twice, FullRecipient, twice, FullRecipient)
		d.data(content("twice"))
		for _, want := range []string{"250 2.0.0 ", "552 5.2.2 ", "250 2.0.0 ", "552 5.2.2 "} {
			d.expect(want)
		}
		d.say("QUIT", "221 2.0.0 ")
		arrived(t, s, twice, content("twice"))
	})

	t.Run("BDAT in one chunk, pipelined", func(t *testing.T) {
		d := dial(t, address, nil)
		d.say("LHLO client.example.test", "250 ")
		sent := content("chunk")
		d.write(fmt.Sprintf("MAIL FROM:<me@example.com>\r\nRCPT TO:<%s>\r\nRCPT TO:<%s>\r\nBDAT %d LAST\r\n%s",
			mailbox("dave"), mailbox("erin"), len(sent), sent))
		for _, want := range []string{"250 2.1.0 ", "250 2.1.5 ", "250 2.1.5 ", "250 2.0.0 ", "250 2.0.0 "} {
			d.expect(want)
		}
		d.say("QUIT", "221 2.0.0 ")
		arrived(t, s, mailbox("dave"), sent)
		arrived(t, s, mailbox("erin"), sent)
	})

	t.Run("what comes without a line end arrives without", func(t *testing.T) {
		for name, sent := range map[string]string{"half": "Subject: x\r\n\r\nhalf", "empty": "", "no-header": "text\r\n"} {
			d := envelope(t, mailbox(name))
			d.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(sent), sent))
			d.expect("250 2.0.0 ")
			d.say("QUIT", "221 2.0.0 ")
			arrived(t, s, mailbox(name), sent)
		}
	})

	t.Run("odd addresses", func(t *testing.T) {
		d := envelope(t, prefix+"+tag@example.test", `"`+prefix+` b"@example.test`)
		d.say("RCPT TO:<Zoë@example.test>", "501 5.5.4 ")
		d.data(content("odd"))
		d.expect("250 2.0.0 ")
		d.expect("250 2.0.0 ")
		d.say("QUIT", "221 2.0.0 ")
		arrived(t, s, prefix+"+tag@example.test", content("odd"))
		arrived(t, s, prefix+" b@example.test", content("odd"))
	})

	t.Run("Settle after a cut", func(t *testing.T) {
		for _, reset := range []bool{false, true} {
			d := dial(t, address, nil)
			d.say("LHLO client.example.test", "250 ")
			d.write("MAIL FROM:<me@example.com>\r\nRCPT TO:<" + mailbox("frank") + ">\r\nDATA\r\nSubject: cut\r\n\r\nhalf a mess")
			if tcp, ok := d.conn.(*net.TCPConn); ok && reset {
				if err := tcp.SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			_ = d.conn.Close()
			s.Settle(t)
			if sessions, err := s.sessions(); len(sessions) > 0 || err != nil {
				t.Errorf("after Settle there are still %q (%v)", sessions, err)
			}
			s.WaitMessages(t, mailbox("frank"), 0)
		}
	})

	t.Run("Settle sees what is not at rest", func(t *testing.T) {
		s.Settle(t)
		d := envelope(t, mailbox("grace"))
		if sessions, err := s.sessions(); len(sessions) != 1 {
			t.Errorf("an open session is seen as %q (%v)", sessions, err)
		}
		if address == s.Addr {
			connected(t, []int{s.port}, 1)
		}
		d.say("QUIT", "221 2.0.0 ")
		_ = d.conn.Close()
		s.Settle(t)
	})
}

// TestTwice has two instances of each server at the same time, which must not know of each other.
func TestTwice(t *testing.T) {
	t.Run("Dovecot", func(t *testing.T) {
		first, second := StartDovecot(t), StartDovecot(t)
		if first.Addr == second.Addr || first.Socket == second.Socket {
			t.Errorf("the instances share an address: %v, %v", first, second)
		}
		d := dial(t, second.Socket, nil)
		d.say("LHLO client.example.test", "250 ")
		d.send("me@example.com", "alice@example.test", content("second"))
		arrived(t, second, "alice@example.test", content("second"))
		first.Settle(t)
		first.WaitMessages(t, "alice@example.test", 0)
	})
	t.Run("Exim", func(t *testing.T) {
		first, second := StartExim(t), StartExim(t)
		ports := slices.Concat(first.ports, second.ports)
		slices.Sort(ports)
		if len(slices.Compact(ports)) != 4 {
			t.Errorf("the instances share a port: %v, %v", first.ports, second.ports)
		}
		d := dial(t, second.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.send("me@example.com", "alice@example.test", contentForExim("second"))
		arrived(t, second, "alice@example.test", contentForExim("second"))
		first.Settle(t)
		first.WaitMessages(t, "alice@example.test", 0)
	})
}

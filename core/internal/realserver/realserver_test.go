package realserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// dialogue is one SMTP or LMTP session, spoken by hand: the servers must be proven without the client that they are to prove.
type dialogue struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// dial opens a session and reads the greeting. The address is host and port, or the path of a Unix socket.
func dial(t *testing.T, address string, config *tls.Config) *dialogue {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{t: t}
	d.over(conn)
	if config != nil {
		d.over(tls.Client(conn, config))
	}
	t.Cleanup(func() { _ = conn.Close() })
	d.expect("220 ")
	return d
}

// over goes on over another connection, within a generous time.
func (d *dialogue) over(conn net.Conn) {
	d.t.Helper()
	d.conn, d.in = conn, bufio.NewReader(conn)
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
}

// expect reads a reply, whose last line must begin as wanted, and returns it whole.
func (d *dialogue) expect(want string) string {
	d.t.Helper()
	reply := ""
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			d.t.Fatalf("reading the reply: %v after %q", err, reply)
		}
		reply += line
		if len(line) < 4 || line[3] != '-' {
			if !strings.HasPrefix(line, want) {
				d.t.Fatalf("the reply is %q, wanted %q", reply, want)
			}
			return reply
		}
	}
}

// write sends octets as they are.
func (d *dialogue) write(octets string) {
	d.t.Helper()
	if _, err := d.conn.Write([]byte(octets)); err != nil {
		d.t.Fatal(err)
	}
}

// say sends a command and expects its reply.
func (d *dialogue) say(command, want string) string {
	d.t.Helper()
	d.write(command + "\r\n")
	return d.expect(want)
}

// plain is the command AUTH with the mechanism PLAIN.
func plain(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}

// send runs a transaction with DATA. The content ends with CRLF.
func (d *dialogue) send(from, to, content string) {
	d.t.Helper()
	d.say("MAIL FROM:<"+from+"> BODY=8BITMIME", "250 ")
	d.say("RCPT TO:<"+to+">", "250 ")
	d.data(content)
	d.expect("250 ")
}

// data sends DATA and the content, which ends with CRLF. The reply to the content is left to be read.
func (d *dialogue) data(content string) {
	d.t.Helper()
	d.say("DATA", "354 ")
	stuffed := strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:]
	d.write(stuffed + ".\r\n")
}

// bdat sends content in two chunks, the first of 20 octets. The reply to the second is left to be read.
func (d *dialogue) bdat(content string) {
	d.t.Helper()
	d.write(fmt.Sprintf("BDAT 20\r\n%s", content[:20]))
	d.expect("250 ")
	d.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content)-20, content[20:]))
}

// content has what is easily lost on the way.
func content(subject string) string {
	return "Subject: " + subject + "\r\nX-Folded: a\r\n\tb  \r\nReturn-Path: <x@example.com>\r\nBcc: y\r\nFrom: z\r\n\r\n" +
		".\r\n..\r\n.dot\r\nFrom here\r\nblåbær \xff\xfe\r\nnul \x00, CR \r.\r\n" + strings.Repeat("9", 900) + "\r\n" +
		strings.Repeat("x", 5000) + "\r\ntrailing \t\r\n\r\n\r\n"
}

// arrived checks that exactly this content has arrived and returns the message with what the server has prepended.
func arrived(t *testing.T, server interface {
	WaitMessages(testing.TB, string, int) [][]byte
}, mailbox, want string) string {
	t.Helper()
	message := server.WaitMessages(t, mailbox, 1)[0]
	got, err := Content(message)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatalf("what has arrived is not what was sent:\n%q\n%q", got, want)
	}
	return string(message)
}

// offers checks that a reply to EHLO or LHLO announces exactly these extensions, in whatever order.
func offers(t *testing.T, reply string, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(reply) {
		got = append(got, strings.TrimSpace(line[4:]))
	}
	got = got[1:]
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("what is announced is %q, wanted %q", got, want)
	}
}

// connected waits until exactly so many connections to ports are seen.
func connected(t *testing.T, ports []int, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var open []string
	err := await(ctx, func() (_ bool, err error) {
		open, err = connections(ports)
		return len(open) == n, err
	})
	if err != nil {
		t.Errorf("%d open connections are seen as %q: %v", n, open, err)
	}
}

func TestPostfix(t *testing.T) {
	p := StartPostfix(t)
	config := &tls.Config{RootCAs: p.RootCAs, ServerName: "localhost"}

	t.Run("without TLS", func(t *testing.T) {
		d := dial(t, p.PlainAddr, nil)
		reply := d.say("EHLO client.example.test", "250 ")
		for _, want := range []string{
			"PIPELINING", "SIZE 67108864", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING",
			"AUTH PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 XOAUTH2 OAUTHBEARER",
		} {
			if !strings.Contains(reply, want+"\r\n") {
				t.Errorf("EHLO does not announce %s: %q", want, reply)
			}
		}
		if strings.Contains(reply, "STARTTLS") {
			t.Errorf("STARTTLS is announced on the listener without TLS: %q", reply)
		}
		d.say(plain(p.User, "not "+p.Password), "535 5.7.8 ")
		d.say(plain(p.User, p.Password), "235 2.7.0 ")
		d.send("me@example.com", "alice@example.test", content("plain"))
		d.say("QUIT", "221 2.0.0 ")
		message := arrived(t, p, "alice@example.test", content("plain"))
		if !strings.Contains(message, "(Authenticated sender: rider)") || strings.Contains(message, "(using TLS") {
			t.Errorf("the field Received does not tell of AUTH without TLS: %q", message)
		}
	})

	t.Run("STARTTLS", func(t *testing.T) {
		d := dial(t, p.Addr, nil)
		if reply := d.say("EHLO client.example.test", "250 "); !strings.Contains(reply, "250-AUTH PLAIN") {
			t.Errorf("AUTH is not announced before STARTTLS: %q", reply)
		}
		d.say("STARTTLS", "220 2.0.0 ")
		d.over(tls.Client(d.conn, config))
		if reply := d.say("EHLO client.example.test", "250 "); strings.Contains(reply, "STARTTLS") {
			t.Errorf("STARTTLS is announced again: %q", reply)
		}
		d.say(plain(p.User, p.Password), "235 2.7.0 ")
		d.send("me@example.com", "bob@example.test", content("STARTTLS"))
		d.say("QUIT", "221 2.0.0 ")
		if message := arrived(t, p, "bob@example.test", content("STARTTLS")); !strings.Contains(message, "(using TLSv1.3 ") {
			t.Errorf("the field Received does not tell of TLS: %q", message)
		}
	})

	for _, name := range []string{"localhost", "mail.example.test", "127.0.0.1", "::1"} {
		t.Run("implicit TLS as "+name, func(t *testing.T) {
			d := dial(t, p.TLSAddr, &tls.Config{RootCAs: p.RootCAs, ServerName: name})
			d.say("EHLO client.example.test", "250 ")
			d.say(plain(p.User, p.Password), "235 2.7.0 ")
			mailbox := fmt.Sprintf("carol-%x@example.test", name)
			d.send("me@example.com", mailbox, content(name))
			d.say("QUIT", "221 2.0.0 ")
			arrived(t, p, mailbox, content(name))
		})
	}

	t.Run("certificate of an unknown authority", func(t *testing.T) {
		conn, err := tls.Dial("tcp", p.TLSAddr, &tls.Config{ServerName: "localhost"})
		if err == nil {
			_ = conn.Close()
			t.Error("a client that does not know the authority has accepted the certificate")
		}
	})

	t.Run("refusals", func(t *testing.T) {
		d := dial(t, p.PlainAddr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<"+RefusedSender+">", "550 5.7.1 ")
		d.say("MAIL FROM:<me@example.com>", "250 2.1.0 ")
		d.say("RCPT TO:<"+RefusedRecipient+">", "550 5.1.1 ")
		d.say("RCPT TO:<"+DeferredRecipient+">", "450 4.2.0 ")
		d.say("RCPT TO:<you@example.net>", "554 5.7.1 ")
		d.say("RCPT TO:<made-up@example.test>", "250 2.1.5 ")
		d.say("QUIT", "221 2.0.0 ")
	})

	t.Run("mail for elsewhere", func(t *testing.T) {
		d := dial(t, p.PlainAddr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say(plain(p.User, p.Password), "235 2.7.0 ")
		d.send("dave@example.test", "you@example.net", content("discarded"))
		d.say("QUIT", "221 2.0.0 ")
		p.Settle(t)
		if !strings.Contains(p.Log(), "to=<you@example.net>, relay=none,") {
			t.Error("the log does not tell that the mail was thrown away")
		}
		p.WaitMessages(t, "dave@example.test", 0) // no bounce
	})

	t.Run("BDAT", func(t *testing.T) {
		d := dial(t, p.PlainAddr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<me@example.com> SMTPUTF8 BODY=8BITMIME", "250 2.1.0 ")
		d.say("RCPT TO:<Zoë@example.test>", "250 2.1.5 ")
		d.say("RCPT TO:<\"a b\"@example.test>", "250 2.1.5 ")
		sent := content("chunks")
		d.bdat(sent)
		d.expect("250 2.0.0 ")
		d.say("QUIT", "221 2.0.0 ")
		arrived(t, p, "Zoë@example.test", sent)
		arrived(t, p, `"a b"@example.test`, sent)
	})

	t.Run("Settle sees what arrives", func(t *testing.T) {
		d := dial(t, p.PlainAddr, nil)
		d.say("EHLO client.example.test", "250 ")
		const several = 20
		for range several {
			d.send("me@example.com", "erin@example.test", content("settle"))
		}
		d.say("QUIT", "221 2.0.0 ")
		_ = d.conn.Close()
		p.Settle(t)
		messages, err := p.Messages("erin@example.test")
		if err != nil || len(messages) != several {
			t.Errorf("after Settle %d messages have arrived instead of %d (%v)", len(messages), several, err)
		}
	})

	t.Run("Settle after a cut", func(t *testing.T) {
		for _, reset := range []bool{false, true} {
			d := dial(t, p.PlainAddr, nil)
			d.say("EHLO client.example.test", "250 ")
			// With PIPELINING the server may not have read a thing when the connection ends.
			d.write("MAIL FROM:<me@example.com>\r\nRCPT TO:<frank@example.test>\r\nDATA\r\nSubject: cut\r\n\r\nhalf a mess")
			if reset {
				if err := d.conn.(*net.TCPConn).SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			_ = d.conn.Close()
			p.Settle(t)
			if open := p.openSessions(); open > 0 {
				t.Errorf("after Settle there are still %d sessions", open)
			}
			p.WaitMessages(t, "frank@example.test", 0)
		}
		if began := strings.Count(p.Log(), "lost connection after DATA"); began != 2 {
			t.Errorf("the server has seen %d of 2 connections break in the content:\n%s", began, p.Log())
		}
	})

	t.Run("Settle sees what is not at rest", func(t *testing.T) {
		d := dial(t, p.PlainAddr, nil)
		d.say("EHLO client.example.test", "250 ")
		connected(t, p.ports, 1)
		if err := p.syncLog(t.Context()); err != nil {
			t.Fatal(err)
		}
		if open := p.openSessions(); open != 1 {
			t.Errorf("an open session is seen as %d", open)
		}
		d.say("MAIL FROM:<me@example.com>", "250 2.1.0 ")
		d.say("RCPT TO:<grace@example.test>", "250 2.1.5 ")
		if queued, err := p.queued(); len(queued) != 1 || !strings.HasPrefix(queued[0], "incoming/") {
			t.Errorf("a transaction under way is seen as %q (%v)", queued, err)
		}
		d.say("QUIT", "221 2.0.0 ")
		p.Settle(t)
	})

	t.Run("Messages wants an address", func(t *testing.T) {
		for _, mailbox := range []string{"alice", "alice@example.com", ""} {
			if _, err := p.Messages(mailbox); err == nil {
				t.Errorf("%q is taken for a mailbox", mailbox)
			}
		}
	})
}

// TestPostfixTwice has two instances at the same time, which must not know of each other.
func TestPostfixTwice(t *testing.T) {
	first, second := StartPostfix(t), StartPostfix(t)
	ports := slices.Concat(first.ports, second.ports)
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 6 {
		t.Errorf("the instances share a port: %v, %v", first.ports, second.ports)
	}
	d := dial(t, second.PlainAddr, nil)
	d.say("EHLO client.example.test", "250 ")
	d.send("me@example.com", "alice@example.test", content("second"))
	d.say("QUIT", "221 2.0.0 ")
	arrived(t, second, "alice@example.test", content("second"))
	first.Settle(t)
	first.WaitMessages(t, "alice@example.test", 0)

	conn, err := tls.Dial("tcp", second.TLSAddr, &tls.Config{ServerName: "localhost", RootCAs: first.RootCAs})
	if err == nil {
		_ = conn.Close()
		t.Error("the instances share an authority")
	}
}

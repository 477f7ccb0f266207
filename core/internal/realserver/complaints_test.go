package realserver

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
)

// complaining is a server whose log can be searched for complaints.
type complaining interface {
	Settle(t testing.TB)
	Mail() (map[string][][]byte, error)
	Complaints() []string
}

// complains checks that a server complains of exactly so many things, the last of which has these words in it.
func complains(t *testing.T, server complaining, n int, words string) {
	t.Helper()
	server.Settle(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var complaints []string
	err := await(ctx, func() (bool, error) { // Dovecot's latest lines may still be on their way
		complaints = server.Complaints()
		return len(complaints) >= n, nil
	})
	if err != nil || len(complaints) != n || n > 0 && !strings.Contains(complaints[n-1], words) {
		t.Errorf("the complaints are %q, wanted %d, the last about %q (%v)", complaints, n, words, err)
	}
}

// delivers speaks a session in which nothing is wrong but that some are refused, and all is said at once that may be. It
// checks what Mail returns.
func delivers(t *testing.T, server complaining, address, hello string) {
	t.Helper()
	d := dial(t, address, nil)
	d.say(hello+" client.example.test", "250 ")
	const content = "Subject: x\r\n\r\nx\r\n"
	d.write("MAIL FROM:<me@example.com>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<" + RefusedRecipient + ">\r\n" +
		fmt.Sprintf("RCPT TO:<bob@example.test>\r\nBDAT %d LAST\r\n", len(content)) + content +
		"RSET\r\nMAIL FROM:<me@example.com>\r\nRCPT TO:<" + RefusedRecipient + ">\r\n" +
		fmt.Sprintf("BDAT %d LAST\r\n", len(content)) + content +
		"RSET\r\nMAIL FROM:<me@example.com>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
	for _, want := range strings.Fields("250 250 550 250 250") {
		d.expect(want)
	}
	if hello == "LHLO" {
		d.expect("250") // there are two recipients
	}
	for _, want := range strings.Fields("250 250 550 5 250 250 250 354") {
		d.expect(want)
	}
	d.write(content + ".\r\nQUIT\r\n")
	d.expect("250")
	d.expect("221")
	_ = d.conn.Close()

	complains(t, server, 0, "")
	mail, err := server.Mail()
	if err != nil || len(mail) != 2 || len(mail["alice@example.test"]) != 2 || len(mail["bob@example.test"]) != 1 {
		t.Errorf("what has arrived is %q (%v)", mail, err)
	}
}

// TestComplaints has each server complain about everything that it complains about.
func TestComplaints(t *testing.T) {
	// blurt says everything in one write and waits for the server to hang up.
	blurt := func(t *testing.T, address, octets string) {
		t.Helper()
		d := dial(t, address, nil)
		d.write(octets)
		_, _ = io.Copy(io.Discard, d.in) // how it hangs up is its own business
		_ = d.conn.Close()
	}

	t.Run("Postfix", func(t *testing.T) {
		p := StartPostfix(t, "message_size_limit = 2000")
		delivers(t, p, p.PlainAddr, "EHLO")
		blurt(t, p.PlainAddr, "EHLO x\r\nMAIL FROM:<me@example.com>\r\nQUIT\r\n")
		complains(t, p, 1, "improper command pipelining after EHLO from")
		blurt(t, p.PlainAddr, "NONSENSE\r\nQUIT\r\n")
		complains(t, p, 2, " unknown=0/1 ")
		_ = dial(t, p.PlainAddr, nil).conn.Close()
		complains(t, p, 3, "lost connection after CONNECT")

		d := dial(t, p.PlainAddr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<me@example.com>", "250 ")
		d.say("RCPT TO:<carol@example.test>", "250 ")
		d.data(RefusedField + "yes\r\n\r\n")
		d.expect("550 5.7.1 ")
		for range 2 {
			d.say("MAIL FROM:<me@example.com>", "250 ")
			d.say("RCPT TO:<carol@example.test>", "250 ")
			d.write("BDAT 3000 LAST\r\n" + strings.Repeat("3000 octets with line end\r\n\r\n\r\n", 100)[:3000])
			d.expect("552 5.3.4 ")
			d.say("RSET", "250 ")
		}
		d.say("QUIT", "221 ")
		complains(t, p, 3, "lost connection after CONNECT")
	})

	t.Run("Exim", func(t *testing.T) {
		e := StartExim(t, "message_size_limit = 2000", "pipelining_connect_advertise_hosts =")
		delivers(t, e, e.Addr, "EHLO")
		blurt(t, e.Addr, "EHLO x\r\nMAIL FROM:<me@example.com>\r\nQUIT\r\n")
		complains(t, e, 1, "SMTP protocol synchronization error (next input sent too soon: pipelining was not advertised)")
		d := dial(t, e.Addr, nil)
		d.say("NONSENSE", "500 ")
		d.say("QUIT", "221 ")
		_ = d.conn.Close()
		complains(t, e, 2, "SMTP syntax error")
		_ = dial(t, e.Addr, nil).conn.Close()
		complains(t, e, 3, " lost")

		p := StartExim(t)
		blurt(t, p.Addr, "EHLO x\r\nMAIL FROM:<me@example.com>\r\nQUIT\r\n")
		blurt(t, p.Addr, "EHLO x\r\nMAIL FROM:<me@example.com>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n.\r\nQUIT\r\n")
		complains(t, p, 0, "") // it offers PIPECONNECT
	})

	t.Run("Exim, over the limit", func(t *testing.T) {
		e := StartExim(t, "message_size_limit = 2000")
		d := dial(t, e.Addr, nil)
		d.say("EHLO client.example.test", "250 ")
		d.say("MAIL FROM:<me@example.com>", "250 ")
		d.say("RCPT TO:<alice@example.test>", "250 ")
		content := "Subject: x\r\n\r\n" + strings.Repeat("this is no command\r\n", 10000)
		d.write(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content))
		d.expect("552 ")
		d.expect("554 SMTP synchronization error")
	})

	t.Run("Dovecot", func(t *testing.T) {
		d := StartDovecot(t)
		delivers(t, d, d.Addr, "LHLO")
		blurt(t, d.Addr, "LHLO x\r\nMAIL FROM:<me@example.com>\r\nNONSENSE\r\nQUIT\r\n")
		complains(t, d, 0, "")
		blurt(t, d.Addr, strings.Repeat("NONSENSE\r\n", 20))
		complains(t, d, 1, "Too many invalid commands.")
		_ = dial(t, d.Addr, nil).conn.Close()
		complains(t, d, 2, "Connection closed")
	})
}

func TestChange(t *testing.T) {
	const settings = "\na = 1\nab = 2\n  c\nlast = 4\n"
	for _, c := range []struct{ change, want string }{
		{"a = 3", "\na = 3\nab = 2\n  c\nlast = 4\n"},
		{"ab =", "\na = 1\nab =\n  c\nlast = 4\n"},
		{"last = 3", "\na = 1\nab = 2\n  c\nlast = 3\n"},
		{"new = 3", "new = 3\n\na = 1\nab = 2\n  c\nlast = 4\n"},
	} {
		if got := change(settings, []string{c.change}); got != c.want {
			t.Errorf("%q makes %q, wanted %q", c.change, got, c.want)
		}
	}
	if got := change(settings, nil); got != settings {
		t.Errorf("no change makes %q", got)
	}
}

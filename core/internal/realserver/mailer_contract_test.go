package realserver_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core/internal/realserver"
)

// Empty content, and a dot where it begins, arrive as they are, by DATA and by BDAT.
func TestMailer_oddContent(t *testing.T) {
	p, d := realserver.StartPostfix(t), realserver.StartDovecot(t)
	m := buildMailer(t)
	contents := []string{"", ".\r\n", "..\r\n.\r\nhi\r\n", "Subject: x\r\n\r\n.\r\n..\r\n"}
	for _, server := range []struct {
		name, url string
		messages  func(t testing.TB, mailbox string, n int) [][]byte
		delivered func(content string) string
	}{
		// Postfix ends a header that there is none of.
		{"Postfix", "smtp://" + p.PlainAddr, p.WaitMessages, func(content string) string {
			if strings.HasPrefix(content, ".") {
				return "\r\n" + content
			}
			return content
		}},
		{"Dovecot", "lmtp+unix://" + d.Socket, d.WaitMessages, func(content string) string { return content }},
	} {
		for n, content := range contents {
			for _, chunking := range []string{"auto", "off"} {
				t.Run(fmt.Sprintf("%s, -chunking %s, %q", server.name, chunking, content), func(t *testing.T) {
					mailbox := fmt.Sprintf("odd%d%s@example.test", n, chunking)
					m.send(t, 0, "-url", server.url, "-from", "me@example.com", "-to", mailbox, "-chunking", chunking, m.file(t, "odd.eml", content))
					got, err := realserver.Content(server.messages(t, mailbox, 1)[0])
					if want := server.delivered(content); string(got) != want || err != nil {
						t.Errorf("%q arrived, want %q (%v)", got, want, err)
					}
				})
			}
		}
	}
	p.Settle(t)
}

// What cannot be sent as it is, and the order in which statuses count, with one server for all of it.
func TestMailer_severalStatuses(t *testing.T) {
	p := realserver.StartPostfix(t)
	m := buildMailer(t)
	to := func(name, address string) string {
		return m.file(t, name, "From: me@example.com\r\nTo: "+address+"\r\n\r\nhi\r\n")
	}
	good, refused, deferred := to("good.eml", "alice@example.test"), to("refused.eml", realserver.RefusedRecipient), to("deferred.eml", realserver.DeferredRecipient)
	for _, c := range []struct {
		status   int
		files    []string
		outcomes string
	}{
		{0, []string{good, good}, "delivered delivered"},
		{69, []string{good, refused}, "delivered not_delivered"},
		{75, []string{deferred, refused, good}, "not_delivered not_delivered delivered"},
		{65, []string{deferred, "/nonexistent/mail.eml", good}, "not_delivered not_delivered delivered"},
	} {
		var outcomes []string
		for n, r := range m.send(t, c.status, append([]string{"-url", "smtp://" + p.PlainAddr, "-header-envelope"}, c.files...)...) {
			if outcomes = append(outcomes, r.Outcome); r.File != c.files[n] {
				t.Errorf("result %d is of %s", n, r.File)
			}
		}
		if got := strings.Join(outcomes, " "); got != c.outcomes {
			t.Errorf("got %s, want %s", got, c.outcomes)
		}
	}
	// Further attempts are made of what was put off, and of nothing else.
	if r := m.send(t, 75, "-url", "smtp://"+p.PlainAddr, "-retries", "2", "-header-envelope", deferred)[0]; r.Attempts != 3 {
		t.Errorf("%d attempts", r.Attempts)
	}
	if r := m.send(t, 69, "-url", "smtp://"+p.PlainAddr, "-retries", "2", "-header-envelope", refused)[0]; r.Attempts != 1 {
		t.Errorf("%d attempts", r.Attempts)
	}
	// Nothing is sent with 64 and 78, nor anything printed.
	for status, args := range map[int][]string{
		64: {"-concurrency", "0"}, 78: {"-user", "me", "-password-file", m.file(t, "empty", "")},
	} {
		got, out, errs := m.run(t, append([]string{"send", "-json", "-url", "smtp://" + p.PlainAddr, "-header-envelope", good}, args...)...)
		if got != status || len(out) > 0 || strings.Count(errs, "\n") != 1 {
			t.Errorf("status %d, want %d: %s%s", got, status, out, errs)
		}
	}
	p.Settle(t)
	if n := len(p.WaitMessages(t, "alice@example.test", 5)); n != 5 {
		t.Errorf("%d messages arrived", n)
	}
}

// What a server does not take: 65 is for what it does not offer, 77 for what it wants before it takes anything.
func TestMailer_whatPostfixDoesNotTake(t *testing.T) {
	p := realserver.StartPostfix(t, "smtpd_tls_security_level = encrypt", "smtpd_discard_ehlo_keywords = 8bitmime, smtputf8")
	m := buildMailer(t)
	ascii, eight := m.file(t, "ascii.eml", "Subject: hi\r\n\r\nhi\r\n"), m.file(t, "eight.eml", "Subject: hi\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n")
	for rule, c := range map[string]struct {
		status int
		stage  string
		code   int
		args   []string
	}{
		"77 530: TLS is wanted first": {77, "mail", 530, []string{"-url", "smtp://" + p.Addr, "-tls", "off", "-to", "a@example.test", ascii}},
		"65 8-bit content":            {65, "policy", 0, []string{"-url", "smtp://" + p.PlainAddr, "-to", "a@example.test", eight}},
		"65 an address in UTF-8":      {65, "policy", 0, []string{"-url", "smtp://" + p.PlainAddr, "-to", "j\u00fcrgen@example.test", ascii}},
	} {
		t.Run(rule, func(t *testing.T) {
			r := m.send(t, c.status, append([]string{"-from", "me@example.com"}, c.args...)...)[0]
			if r.Error == nil || r.Error.Stage != c.stage || r.Error.Code != c.code || r.Outcome != "not_delivered" {
				t.Errorf("got %+v, error %+v", r, r.Error)
			}
		})
	}
	p.Settle(t)
	if mail, err := p.Mail(); len(mail) > 0 || err != nil {
		t.Errorf("arrived: %v, %v", mail, err)
	}
}

// A connection that is lost, in front of real servers: what they have taken is unknown, and what they have not is put
// off.
func TestMailer_theConnectionIsLost(t *testing.T) {
	p, d := realserver.StartPostfix(t), realserver.StartDovecot(t)
	m := buildMailer(t)
	mail, password := m.file(t, "mail.eml", "Subject: hi\r\n\r\nhi\r\n"), m.file(t, "password", p.ASCIIPassword)
	for _, c := range []struct {
		rule, scheme, server, behind string
		status, arrived              int
		stage, outcome               string
		args                         []string
	}{
		{"Postfix, behind the final dot", "smtp", p.PlainAddr, "\r\n.\r\n", 76, 1, "content", "unknown", []string{"-chunking", "off"}},
		{"Postfix, behind the last chunk", "smtp", p.PlainAddr, "\r\n\r\nhi\r\n", 76, 1, "content", "unknown", nil},
		{"Postfix, at DATA", "smtp", p.PlainAddr, "DATA\r\n", 75, 0, "", "not_delivered", []string{"-chunking", "off"}},
		{"Postfix, at AUTH", "smtp", p.PlainAddr, "AUTH PLAIN", 75, 0, "auth", "not_delivered", []string{"-user", p.ASCIIUser, "-password-file", password, "-mech", "PLAIN"}},
		{"Dovecot, behind the final dot", "lmtp", d.Addr, "\r\n.\r\n", 76, 1, "content", "unknown", []string{"-chunking", "off"}},
		{"Dovecot, at RCPT", "lmtp", d.Addr, "RCPT TO", 75, 0, "", "not_delivered", []string{"-chunking", "off"}},
		// The content leaves with the envelope.
		{"Dovecot, at RCPT, with CHUNKING", "lmtp", d.Addr, "RCPT TO", 76, 1, "content", "unknown", nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			mailbox := strings.NewReplacer(" ", "", ",", "").Replace(c.rule) + "@example.test"
			url := c.scheme + "://" + cutBehind(t, c.server, c.behind)
			r := m.send(t, c.status, append([]string{"-url", url, "-from", "me@example.com", "-to", mailbox, mail}, c.args...)...)[0]
			if r.Outcome != c.outcome || r.Error == nil || c.stage != "" && r.Error.Stage != c.stage {
				t.Errorf("got %+v, error %+v", r, r.Error)
			}
			messages := p.WaitMessages
			if c.scheme == "lmtp" {
				messages = d.WaitMessages
			}
			if got := len(messages(t, mailbox, c.arrived)); got != c.arrived {
				t.Errorf("%d messages arrived", got)
			}
		})
	}
	p.Settle(t)
}

// cutBehind is a server in front of another one. When the client has sent the text it hears nothing more: the connection
// to it is closed when the server has answered that.
func cutBehind(t *testing.T, server, text string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = client.Close() }()
				server, err := net.Dial("tcp", server)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = server.Close() }()
				var answers sync.Mutex // held when they are no longer for the client
				serving.Go(func() {
					octets := make([]byte, 4096)
					for {
						n, err := server.Read(octets)
						if answers.TryLock() {
							_, _ = client.Write(octets[:n])
							answers.Unlock()
						} else if n > 0 || err != nil {
							_ = client.Close()
						}
						if err != nil {
							return
						}
					}
				})
				var said bytes.Buffer
				octets := make([]byte, 4096)
				for {
					n, err := client.Read(octets)
					said.Write(octets[:n])
					if bytes.Contains(said.Bytes(), []byte(text)) {
						answers.Lock()
						_, _ = server.Write(octets[:n])
						_, _ = io.Copy(io.Discard, client) // until it is closed
						return
					}
					if _, writeErr := server.Write(octets[:n]); err != nil || writeErr != nil {
						return
					}
				}
			})
		}
	})
	return listener.Addr().String()
}

// 454: those who check the passwords for Postfix cannot do it now.
func TestMailer_75TheAuthenticationIsAway(t *testing.T) {
	p := realserver.StartPostfix(t, "smtpd_sasl_path = "+hangsUp(t))
	m := buildMailer(t)
	r := m.send(t, 75, "-url", "smtp://"+p.PlainAddr, "-from", "me@example.com", "-to", "alice@example.test", "-mech", "PLAIN",
		"-user", p.ASCIIUser, "-password-file", m.file(t, "password", p.ASCIIPassword), m.file(t, "mail.eml", "Subject: hi\r\n\r\nhi\r\n"))[0]
	if r.Outcome != "not_delivered" || r.Error == nil || r.Error.Stage != "auth" || r.Error.Code != 454 || r.Error.Class != "temporary" {
		t.Errorf("got %+v, error %+v", r, r.Error)
	}
	p.Settle(t)
}

// hangsUp is a socket that speaks Dovecot's protocol for authentication, version 1.1, and hangs up when it is asked.
func hangsUp(t *testing.T) (path string) {
	t.Helper()
	folder, err := os.MkdirTemp("", "auth")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(folder, "auth")
	listener, err := net.Listen("unix", path)
	// Postfix is another user.
	if err := errors.Join(err, os.Chmod(folder, 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
		_ = os.RemoveAll(folder)
	})
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, "VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00000000000000000000000000000000\nDONE\n")
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "AUTH\t") {
						return
					}
				}
			})
		}
	})
	return path
}

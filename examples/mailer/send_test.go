package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// picky is a server that has two mailboxes that take nothing.
func picky() smtptest.ServerOptions {
	return smtptest.ServerOptions{Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
		switch to.Address {
		case "nobody@example.net":
			return smtptest.Reply("550 5.1.1 no such mailbox")
		case "busy@example.net":
			return smtptest.Reply("450 4.2.0 try later")
		}
		return nil
	}}
}

func TestSend_everyFieldThatApplies(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	name := file(t, mail)
	r := mailer(t, to(s.URL(), name)...)
	r.ends(t, 0)
	m := s.Messages()[0]
	want := fmt.Sprintf(`{"file":%q,"recipients":[{"address":"you@example.net","outcome":"accepted","code":250,"enhanced":"2.0.0","text":%q}],`+
		`"server":%q,"queue_id":%q,"attempts":1,"outcome":"delivered"}`+"\n",
		name, r.one(t).Recipients[0].Text, strings.TrimPrefix(s.URL(), "smtp://"), m.ID)
	if r.stdout != want {
		t.Errorf("got  %s\nwant %s", r.stdout, want)
	}
	if string(m.Content) != mail || m.From != "me@example.com" || m.Hello != "client.example" {
		t.Errorf("arrived %q %+v", m.Content, m.Envelope)
	}
}

func TestSend_outcomesOfAMessage(t *testing.T) {
	for rule, tt := range map[string]struct {
		to       []string
		status   int
		outcome  string
		outcomes string
		stage    string
		code     int
	}{
		"all are accepted":         {[]string{"a@example.net", "b@example.net"}, 0, delivered, "accepted accepted", "", 0},
		"one is refused":           {[]string{"a@example.net", "nobody@example.net"}, 69, partial, "accepted refused", "rcpt", 550},
		"all are refused":          {[]string{"nobody@example.net"}, 69, notDelivered, "refused", "rcpt", 550},
		"one is put off":           {[]string{"busy@example.net", "a@example.net"}, 75, partial, "deferred accepted", "rcpt", 450},
		"75 comes before 69":       {[]string{"nobody@example.net", "busy@example.net"}, 75, notDelivered, "refused deferred", "rcpt", 450},
		"the same twice, in order": {[]string{"a@example.net", "nobody@example.net", "a@example.net"}, 69, partial, "accepted refused accepted", "rcpt", 550},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, picky())
			args := []string{"send", "-url", s.URL(), "-from", "me@example.com", "-json"}
			for _, address := range tt.to {
				args = append(args, "-to", address)
			}
			r := mailer(t, append(args, file(t, mail))...)
			r.ends(t, tt.status)
			got := r.one(t)
			var outcomes, addresses []string
			for _, one := range got.Recipients {
				outcomes, addresses = append(outcomes, one.Outcome), append(addresses, one.Address)
			}
			if got.Outcome != tt.outcome || strings.Join(outcomes, " ") != tt.outcomes || !slices.Equal(addresses, tt.to) {
				t.Errorf("got %s", r.stdout)
			}
			if tt.stage == "" != (got.Error == nil) || got.Error != nil && (got.Error.Stage != tt.stage || got.Error.Code != tt.code) {
				t.Errorf("the error is %+v", got.Error)
			}
		})
	}
}

// What the reply that decided says stands with each recipient, without its codes.
func TestSend_textOfAReply(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{Rcpt: func(smtptest.Envelope, smtptest.Recipient) *core.Reply {
		return smtptest.Reply("550 5.7.1 go\n5.7.1 away")
	}})
	got := mailer(t, to(s.URL(), file(t, mail))...).one(t)
	one := got.Recipients[0]
	if one.Code != 550 || one.Enhanced != "5.7.1" || one.Text != "go / away" {
		t.Errorf("got %+v", one)
	}
	if e := got.Error; e.Code != 550 || e.Enhanced != "5.7.1" || e.Class != "permanent" || e.Text != "go / away" {
		t.Errorf("got %+v", e)
	}
}

func TestSend_textFromServersIsMadePrintable(t *testing.T) {
	address := script(t, hello+"S: 250 PIPELINING\nC/ MAIL FROM:.*\nC/ RCPT TO:.*\nC: DATA\n"+
		`S~ "550 \x1b[31mred\x07\r\n550 no\r\n503 no\r\n"`+"\nC: QUIT\nS: 221 bye", smtptest.Options{})
	r := mailer(t, to("smtp://"+address, file(t, mail))...)
	r.ends(t, 69, `\x1b[31mred\a`)
	if strings.Contains(r.stdout+r.stderr, "\x1b") {
		t.Errorf("it is not: %q", r.stdout)
	}
}

// LMTP has a reply for each recipient after the content.
func TestSend_LMTP(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{Protocol: core.LMTP, Deliver: func(_ smtptest.Message, to smtptest.Recipient) *core.Reply {
		if to.Address == "full@example.net" {
			return smtptest.Reply("552 5.2.2 mailbox full")
		}
		return nil
	}})
	r := mailer(t, to(s.URL(), "-to", "full@example.net", file(t, mail))...)
	r.ends(t, 69)
	got := r.one(t)
	if got.Outcome != partial || got.Recipients[1].Code != 552 || got.Error.Stage != "content" {
		t.Errorf("got %s", r.stdout)
	}
}

func TestSend_statusOfServers(t *testing.T) {
	const message = "C/ MAIL FROM:.*\nS: 250 ok\nC/ RCPT TO:.*\nS: 250 ok\nC: DATA\nS: 354 go on\nCONTENT\n"
	for rule, tt := range map[string]struct {
		dialogue string
		status   int
		outcome  string
		class    string
		stage    string
	}{
		"69 a greeting that refuses":                        {"S: 554 no\nCLOSE", 69, "refused", "permanent", "connect"},
		"75 a greeting that puts off":                       {"S: 421 later\nCLOSE", 75, "deferred", "temporary", "connect"},
		"75 no protocol":                                    {"S: HTTP/1.1 400\nCLOSE", 75, "deferred", "temporary", "connect"},
		"69 EHLO and HELO are refused":                      {"S: 220 hi\nC: EHLO client.example\nS: 550 no\nC: HELO client.example\nS: 550 no\nCLOSE", 69, "refused", "permanent", "hello"},
		"69 MAIL is refused":                                {hello + "S: 250 HELP\nC/ MAIL .*\nS: 550 5.7.1 no\nC: QUIT\nS: 221 bye", 69, "refused", "permanent", "mail"},
		"77 MAIL wants authentication":                      {hello + "S: 250 HELP\nC/ MAIL .*\nS: 530 5.7.0 authenticate\nC: QUIT\nS: 221 bye", 77, "refused", "permanent", "mail"},
		"69 the content is refused":                         {hello + "S: 250 HELP\n" + message + "S: 554 5.6.0 spam\nC: QUIT\nS: 221 bye", 69, "refused", "permanent", "content"},
		"75 the content is put off":                         {hello + "S: 250 HELP\n" + message + "S: 451 4.3.0 later\nC: QUIT\nS: 221 bye", 75, "deferred", "temporary", "content"},
		"75 the connection is lost before the content":      {hello + "S: 250 HELP\nC/ MAIL .*\nCLOSE", 75, "deferred", "temporary", "mail"},
		"75 the protocol is broken before the content ends": {hello + "S: 250 HELP\nC/ MAIL .*\nS: what?\nCLOSE", 75, "deferred", "temporary", "mail"},
		"76 the connection is lost behind the content":      {hello + "S: 250 HELP\n" + message + "CLOSE", 76, "unknown", "temporary", "content"},
		"76 the protocol is broken behind the content":      {hello + "S: 250 HELP\n" + message + "S: what?\nCLOSE", 76, "unknown", "temporary", "content"},
	} {
		t.Run(rule, func(t *testing.T) {
			r := mailer(t, to("smtp://"+script(t, tt.dialogue, smtptest.Options{}), file(t, mail))...)
			r.ends(t, tt.status)
			got := r.one(t)
			if got.Recipients[0].Outcome != tt.outcome || got.Error.Class != tt.class || got.Error.Stage != tt.stage || got.QueueID != "" {
				t.Errorf("got %s", r.stdout)
			}
			if want := map[bool]string{true: inDoubt, false: notDelivered}[tt.status == 76]; got.Outcome != want {
				t.Errorf("the outcome is %s, want %s", got.Outcome, want)
			}
		})
	}
}

func TestSend_75NoConnection(t *testing.T) {
	r := mailer(t, to("smtp://127.0.0.1:1", "-to", "b@example.net", file(t, mail))...)
	r.ends(t, 75, "connection refused")
	if got := r.one(t); len(got.Recipients) != 2 || got.Recipients[1].Outcome != "deferred" || got.Attempts != 1 || got.Server != "" {
		t.Errorf("got %s", r.stdout)
	}
}

// The queue id is absent when the reply names none in a known form.
func TestSend_noQueueID(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply { return smtptest.Reply("250 thank you") }})
	r := mailer(t, to(s.URL(), file(t, mail))...)
	r.ends(t, 0)
	if strings.Contains(r.stdout, "queue_id") || strings.Contains(r.stdout, "enhanced") || strings.Contains(r.stdout, `"error"`) {
		t.Errorf("got %s", r.stdout)
	}
}

func TestSend_65UnfitForTheServer(t *testing.T) {
	for rule, tt := range map[string]struct {
		options smtptest.ServerOptions
		content string
		more    []string
		says    string
	}{
		"over SIZE":               {smtptest.ServerOptions{MaxSize: 50}, mail, nil, "the server takes 50"},
		"an address in UTF-8":     {smtptest.ServerOptions{}, mail, []string{"-to", "jürgen@example.net"}, "SMTPUTF8"},
		"DSN is not offered":      {smtptest.ServerOptions{}, mail, []string{"-dsn", "NOTIFY=NEVER"}, "DSN"},
		"no file":                 {smtptest.ServerOptions{}, "", []string{"/nonexistent/mail.eml"}, "no such file"},
		"a folder":                {smtptest.ServerOptions{}, "", []string{"/"}, "is a folder"},
		"no sender in the header": {smtptest.ServerOptions{}, "To: a@example.net\r\n\r\n", []string{"-header-envelope"}, ""},
	} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, tt.options)
			args := to(s.URL(), tt.more...)
			if rule == "no sender in the header" {
				args = append([]string{"send", "-url", s.URL(), "-json"}, tt.more...)
			}
			if tt.content != "" {
				args = append(args, file(t, tt.content))
			}
			r := mailer(t, args...)
			r.ends(t, 65, tt.says)
			got := r.one(t)
			if got.Outcome != notDelivered || got.Error.Class != "local" || len(s.Messages()) > 0 {
				t.Errorf("got %s", r.stdout)
			}
			for _, one := range got.Recipients {
				if one.Outcome != "refused" {
					t.Errorf("got %s", r.stdout)
				}
			}
		})
	}
}

// 8-bit content for a server without 8BITMIME.
func TestSend_65EightBit(t *testing.T) {
	address := script(t, hello+"S: 250 HELP\nC: QUIT\nS: 221 bye", smtptest.Options{})
	r := mailer(t, to("smtp://"+address, file(t, "Subject: ü\r\n\r\nü\r\n"))...)
	r.ends(t, 65, "8BITMIME")
}

// 65 comes before 75: what cannot be sent is not tried.
func TestSend_65ComesBeforeTheConnection(t *testing.T) {
	mailer(t, to("smtp://127.0.0.1:1", "/nonexistent/mail.eml")...).ends(t, 65)
	mailer(t, to("smtp://127.0.0.1:1", "/nonexistent/mail.eml", file(t, mail))...).ends(t, 65, "2 of 2 messages")
}

// An empty message file and a first octet of "." are legal.
func TestSend_oddContent(t *testing.T) {
	for _, content := range []string{"", ".", ".\r\n", "..\r\n.\r\n", "\r\n.\r\n"} {
		for _, chunking := range []string{"auto", "off"} {
			s := smtptest.NewServer(t, smtptest.ServerOptions{})
			mailer(t, to(s.URL(), "-chunking", chunking, file(t, content))...).ends(t, 0)
			want := content
			if content != "" && !strings.HasSuffix(content, "\r\n") {
				want += "\r\n"
			}
			if got := string(s.Messages()[0].Content); got != want && got != content {
				t.Errorf("-chunking %s: %q arrived as %q", chunking, content, got)
			}
		}
	}
}

func TestSend_chunking(t *testing.T) {
	for mode, want := range map[string]string{"auto": "BDAT ", "off": "DATA"} {
		var said lockedBuffer
		s := smtptest.NewServer(t, smtptest.ServerOptions{Dialogue: &said})
		mailer(t, to(s.URL(), "-chunking", mode, file(t, mail))...).ends(t, 0)
		if got := said.String(); strings.Contains(got, "BDAT ") != (mode == "auto") || !strings.Contains(got, want) {
			t.Errorf("-chunking %s: %s", mode, got)
		}
	}
}

// Standard input, small and too large to be kept in memory.
func TestSend_standardInput(t *testing.T) {
	for name, content := range map[string]string{"small": mail, "large": mail + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 30_000)} {
		for _, arg := range []string{"-", ""} {
			s := smtptest.NewServer(t, smtptest.ServerOptions{})
			args := to(s.URL())
			if arg != "" {
				args = append(args, arg)
			}
			r := mailerWith(t, content, []string{"TMPDIR=" + t.TempDir()}, args...)
			r.ends(t, 0)
			if got := r.one(t).File; got != "-" || string(s.Messages()[0].Content) != content {
				t.Errorf("%s: the file is %q, or the content another", name, got)
			}
		}
	}
}

// What stdin has is kept for a second attempt.
func TestSend_retries(t *testing.T) {
	tries := 0
	s := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		if tries++; tries < 3 {
			return smtptest.Reply("451 4.3.0 later")
		}
		return nil
	}})
	r := mailerWith(t, mail, nil, to(s.URL(), "-retries", "2", "-")...)
	r.ends(t, 0)
	if got := r.one(t); got.Attempts != 3 || got.Outcome != delivered {
		t.Errorf("got %s", r.stdout)
	}
}

func TestSend_noRetryUnlessAsked(t *testing.T) {
	tries := 0
	s := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply {
		tries++
		return smtptest.Reply("451 4.3.0 later")
	}})
	r := mailer(t, to(s.URL(), file(t, mail))...)
	r.ends(t, 75)
	if tries != 1 || r.one(t).Attempts != 1 {
		t.Errorf("%d tries: %s", tries, r.stdout)
	}
	mailer(t, to("smtp://127.0.0.1:1", "-retries", "1", file(t, mail))...).ends(t, 75)
}

// Several files go over sessions that are kept; a bad one stops nothing.
func TestSend_severalFiles(t *testing.T) {
	s := smtptest.NewServer(t, picky())
	folder := t.TempDir()
	var files []string
	for i := range 5 {
		name := filepath.Join(folder, fmt.Sprint(i))
		files = append(files, name)
		if i == 2 {
			continue // it is not there
		}
		if err := os.WriteFile(name, []byte(mail), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := mailer(t, to(s.URL(), files...)...)
	r.ends(t, 65, "1 of 5 messages", files[2])
	if len(r.results) != 5 {
		t.Fatalf("got %s", r.stdout)
	}
	connections := map[int]bool{}
	for _, m := range s.Messages() {
		connections[m.Connection] = true
	}
	if len(s.Messages()) != 4 || len(connections) != 1 {
		t.Errorf("%d messages over %d connections", len(s.Messages()), len(connections))
	}
	r = mailer(t, append([]string{"send", "-url", s.URL(), "-from", "me@example.com", "-to", "a@example.net", "-depth", "4", "-concurrency", "2"}, files...)...)
	r.ends(t, 65)
	if !strings.Contains(r.stdout, "5 messages: 4 delivered, 1 not delivered\n") || !strings.Contains(r.stdout, files[2]+": not delivered\n  refused   a@example.net the message cannot be read") {
		t.Errorf("for people: %s", r.stdout)
	}
}

// Results that nobody gets: no further message is begun.
func TestSend_resultsThatCannotBeWritten(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	_ = reader.Close()
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	cmd := command(t, to(s.URL(), file(t, mail), file(t, mail), file(t, mail))...)
	cmd.Stdout = writer
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run() // its status is looked at below
	if status := cmd.ProcessState.ExitCode(); status != 75 || !strings.Contains(stderr.String(), "could not all be written") || len(s.Messages()) == 3 {
		t.Errorf("status %d, errors %q, %d messages", status, &stderr, len(s.Messages()))
	}
}

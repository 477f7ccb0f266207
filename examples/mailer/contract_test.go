package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// obedient is a server that has each message end with the status that its sender is
// named after. It returns its address.
func obedient(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go obey(conn)
		}
	}()
	return l.Addr().String()
}

func obey(conn net.Conn) {
	defer conn.Close()
	replies := map[string]string{"69": "550 5.7.1 no", "75": "451 4.3.0 later", "77": "530 5.7.0 authenticate first"}
	lines := bufio.NewScanner(conn)
	reply := "220 mx"
	for {
		if _, err := io.WriteString(conn, reply+"\r\n"); err != nil || !lines.Scan() {
			return
		}
		line := lines.Text()
		reply = "250 2.0.0 ok"
		switch {
		case strings.HasPrefix(line, "MAIL FROM:<"):
			sender, _, _ := strings.Cut(strings.TrimPrefix(line, "MAIL FROM:<"), "@")
			if refusal, ok := replies[sender]; ok {
				reply = refusal
			}
		case line == "DATA":
			reply = "354 go on"
		case line == "QUIT":
			reply = "221 bye"
		}
		if reply == "354 go on" {
			_, _ = io.WriteString(conn, reply+"\r\n")
			for lines.Scan() && lines.Text() != "." {
			}
			return // without a word
		}
	}
}

// Of several, the first that applies in the order 65, 77, 76, 75, 69; 64 and 78 come
// before any message.
func TestContract_statusOfSeveral(t *testing.T) {
	address := obedient(t)
	for _, tt := range []struct {
		messages []int
		status   int
	}{
		{[]int{69, 75}, 75}, {[]int{75, 69}, 75}, {[]int{69, 76}, 76}, {[]int{75, 76}, 76}, {[]int{76, 75, 69}, 76},
		{[]int{77, 69}, 77}, {[]int{75, 77}, 77}, {[]int{76, 77}, 77}, {[]int{69, 65}, 65}, {[]int{76, 65, 75}, 65}, {[]int{77, 65}, 65},
		{[]int{69}, 69}, {[]int{75}, 75}, {[]int{76}, 76}, {[]int{77}, 77}, {[]int{65}, 65},
	} {
		t.Run(fmt.Sprint(tt.messages), func(t *testing.T) {
			args := []string{"send", "-url", "smtp://" + address, "-header-envelope", "-to", "you@example.net", "-json"}
			for _, status := range tt.messages {
				name := "/nonexistent/mail.eml"
				if status != 65 {
					name = file(t, fmt.Sprintf("From: %d@example.com\r\nTo: you@example.net\r\n\r\nhi\r\n", status))
				}
				args = append(args, name)
			}
			r := mailer(t, args...)
			r.ends(t, tt.status)
			if len(r.results) != len(tt.messages) {
				t.Fatalf("got %s", r.stdout)
			}
			want := map[int]string{65: "refused local", 69: "refused permanent", 75: "deferred temporary", 76: "unknown temporary", 77: "refused permanent"}
			for n, one := range r.results {
				if got := one.Recipients[0].Outcome + " " + one.Error.Class; got != want[tt.messages[n]] {
					t.Errorf("message %d is %s", n, got)
				}
			}
		})
	}
}

// -timeout bounds each stage.
func TestContract_timeoutOfEachStage(t *testing.T) {
	const mailOK, rcptOK = hello + "S: 250 AUTH PLAIN\nC/ MAIL .*\nS: 250 ok\n", "C/ RCPT .*\nS: 250 ok\n"
	for rule, tt := range map[string]struct {
		dialogue string
		status   int
		stage    string
	}{
		"the greeting":                  {"HANG", 75, "connect"},
		"the reply to STARTTLS":         {hello + "S: 250 STARTTLS\nC: STARTTLS\nHANG", 75, "tls"},
		"the handshake":                 {hello + "S: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nIGNORE", 75, "tls"},
		"AUTH":                          {hello + "S: 250 AUTH PLAIN\nC/ AUTH .*\nHANG", 75, "auth"},
		"AUTH that drips":               {hello + "S: 250 AUTH PLAIN\nC/ AUTH .*\nDRIP 20ms 2", 75, "auth"},
		"MAIL":                          {hello + "S: 250 AUTH PLAIN\nC/ MAIL .*\nHANG", 75, "mail"},
		"RCPT":                          {mailOK + "C/ RCPT .*\nHANG", 75, "rcpt"},
		"DATA":                          {mailOK + rcptOK + "C: DATA\nHANG", 75, "content"},
		"the last reply, 76":            {mailOK + rcptOK + "C: DATA\nS: 354 go\nCONTENT\nHANG", 76, "content"},
		"the last reply that drips, 76": {mailOK + rcptOK + "C: DATA\nS: 354 go\nCONTENT\nDRIP 20ms 2", 76, "content"},
		"QUIT, which is no failure":     {mailOK + rcptOK + "C: DATA\nS: 354 go\nCONTENT\nS: 250 ok\nC: QUIT\nHANG", 0, ""},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			args := to("smtp://"+script(t, tt.dialogue, smtptest.Options{}), "-timeout", "300ms", file(t, mail))
			if tt.stage == "auth" {
				args = append(args, "-user", "me", "-password-file", file(t, "secret"))
			}
			r := mailer(t, args...)
			r.ends(t, tt.status)
			if got := r.one(t); (got.Error != nil) != (tt.stage != "") || got.Error != nil && got.Error.Stage != tt.stage {
				t.Errorf("got %s", r.stdout)
			}
		})
	}
}

// -retries counts further attempts, and no more are made.
func TestContract_retriesAreCounted(t *testing.T) {
	var tries atomic.Int32
	s := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply {
		tries.Add(1)
		return smtptest.Reply("451 4.3.0 later")
	}})
	for retries := range 3 {
		tries.Store(0)
		r := mailer(t, to(s.URL(), "-retries", fmt.Sprint(retries), file(t, mail))...)
		r.ends(t, 75)
		if got := r.one(t).Attempts; got != retries+1 || tries.Load() != int32(retries+1) {
			t.Errorf("-retries %d: %d attempts, %d of them seen by the server", retries, got, tries.Load())
		}
	}
}

// -concurrency N sends over N sessions at a time: here no message is accepted before
// the other has come.
func TestContract_concurrency(t *testing.T) {
	var waiting atomic.Int32
	both := make(chan struct{})
	s := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		if waiting.Add(1) == 2 {
			close(both)
		}
		<-both
		return nil
	}})
	mailer(t, to(s.URL(), "-concurrency", "2", "-deadline", "20s", file(t, mail), file(t, mail))...).ends(t, 0)
	if m := s.Messages(); len(m) != 2 || m[0].Connection == m[1].Connection {
		t.Errorf("%d messages", len(m))
	}
}

// What cannot be read is reported behind what is under way before it.
func TestContract_resultsAreInOrder(t *testing.T) {
	s := smtptest.NewServer(t, smtptest.ServerOptions{})
	var files []string
	for range 20 {
		files = append(files, file(t, mail), "/nonexistent/mail.eml")
	}
	r := mailer(t, to(s.URL(), files...)...)
	r.ends(t, 65, "20 of 40 messages")
	for n, one := range r.results {
		if one.File != files[n] {
			t.Fatalf("result %d is of %s, and not of %s", n, one.File, files[n])
		}
	}
}

// A Unix socket is on this machine: TLS is used if it is offered, whatever the
// certificate.
func TestContract_unixSocket(t *testing.T) {
	certificate, _ := certificate(t, "other.example")
	for rule, options := range map[string]smtptest.ServerOptions{"in clear text": {}, "with TLS": {StartTLS: true, TLS: certificate}} {
		t.Run(rule, func(t *testing.T) {
			s := smtptest.NewServer(t, options)
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				client, err := l.Accept()
				if err != nil {
					return
				}
				server, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "smtp://"))
				if err != nil {
					_ = client.Close()
					return
				}
				go func() {
					_, _ = io.Copy(server, client)
					_ = server.Close()
				}()
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
			r := mailer(t, to("smtp+unix://"+path, file(t, mail))...)
			r.ends(t, 0)
			if got := r.one(t); got.Server != path || (got.TLS != nil) != options.StartTLS || got.TLS != nil && got.TLS.Verified {
				t.Errorf("got %s", r.stdout)
			}
		})
	}
}

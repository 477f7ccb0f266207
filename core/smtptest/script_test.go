package smtptest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core/smtptest"
)

// start returns a script whose complaints the test wants to see.
func start(t *testing.T, dialogue string, options smtptest.Options) *smtptest.Script {
	t.Helper()
	s, err := smtptest.StartScript(dialogue, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// connect opens a connection to a script.
func connect(t *testing.T, s *smtptest.Script) net.Conn {
	t.Helper()
	conn, err := tryConnect(s)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func tryConnect(s *smtptest.Script) (net.Conn, error) {
	config := s.Config()
	u, err := url.Parse(config.Endpoint)
	if err != nil {
		return nil, err
	}
	e, err := config.Transports[0].Endpoint(u)
	if err != nil {
		return nil, err
	}
	return config.Transports[0].Dial(context.Background(), e)
}

// say writes to the server. A server that no longer listens is none of a
// client's mistakes here.
func say(conn net.Conn, writes ...string) {
	for _, w := range writes {
		_, _ = io.WriteString(conn, w)
	}
}

// hear reads what the server says before it closes, or until the octets have
// come.
func hear(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(conn, got)
	if string(got[:n]) != want {
		t.Errorf("the server says %q (%v), want %q", got[:n], err, want)
	}
}

// Each step takes what it is for and complains about anything else.
func TestScript_whatTheClientSays(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		dialogue  string
		writes    []string
		complaint string // "" for none
	}{
		{"C: is a line", "C: NOOP", []string{"NOOP\r\n"}, ""},
		{"and no other one", "C: NOOP", []string{"RSET\r\n"}, "connection 1, line 1 of the dialogue\n\tstep: C: NOOP\n\twant: \"NOOP\\r\\n\"\n\tgot:  \"RSET\\r\\n\""},
		{"nor one with a bare LF", "C: NOOP", []string{"NOOP\n"}, `got:  "NOOP\n"`},
		{"nor half of one", "C: NOOP", []string{"NOO"}, `got:  "NOO", and then the end of the connection`},
		{"nor nothing", "C: NOOP", nil, `got:  "", and then the end of the connection`},
		{"its line is counted from the first of the dialogue", "\n# a comment\n\n  C: NOOP", []string{"RSET\r\n"}, "line 4 of the dialogue"},
		{"it begins a write", "C: A\nC: B", []string{"A\r\n", "B\r\n"}, ""},
		{"and goes on with none", "C: A\nC: B", []string{"A\r\nB\r\n"}, "want: \"B\\r\\n\", in a write of its own\n\tgot:  it too early: the last write goes on with \"B\\r\\n\""},
		{"C| goes on with the write", "C: A\nC| B", []string{"A\r\nB\r\n"}, ""},
		{"and begins none", "C: A\nC| B", []string{"A\r\n", "B\r\n"}, "want: \"B\\r\\n\", in the same write as the line before\n\tgot:  the end of that write"},
		{"C~ is octets, in any writes", `C~ "\x00ab"` + "\nC: c", []string{"\x00", "ab", "c\r\n"}, ""},
		{"and no others", `C~ "ab"`, []string{"ac"}, `want: "ab"` + "\n\tgot:  \"ac\""},
		{"nor fewer", `C~ "ab"`, []string{"a"}, `got:  "a", and then the end of the connection`},
		{"C/ is a line of a form", `C/ MAIL FROM:<.+> SIZE=\d+`, []string{"MAIL FROM:<a@example.com> SIZE=12\r\n"}, ""},
		{"all of it", `C/ MAIL`, []string{"MAIL FROM:<>\r\n"}, "want: a line that matches MAIL\n\tgot:  \"MAIL FROM:<>\\r\\n\""},
		{"with CRLF", `C/ MAIL`, []string{"MAIL\n"}, `got:  "MAIL\n"`},
		{"CONTENT is all up to the dot", "CONTENT\nC: QUIT", []string{"a\r\n..\r\n", ".\r\n", "QUIT\r\n"}, ""},
		{"which must come", "CONTENT", []string{"a\r\nb\r\n."}, "want: content, and a line that is a single dot\n\tgot:  \"b\\r\\n.\", and then the end of the connection"},
		{"nothing may follow the last step", "C: A", []string{"A\r\n", "B\r\n"}, `connection 1: after its last step the client sent "B\r\n"`},
		{"QUIT neither, but it is explained", "C: A", []string{"A\r\n", "QUIT\r\n"}, "hint: a client says QUIT when it is closed"},
		{"HANG is the same", "C: A\nHANG", []string{"A\r\n", "B\r\n"}, `after its last step the client sent "B\r\n"`},
		{"IGNORE takes anything", "C: A\nIGNORE", []string{"A\r\n", "B\r\n"}, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := start(t, tt.dialogue, smtptest.Options{})
			conn := connect(t, s)
			say(conn, tt.writes...)
			_ = conn.Close()
			checkComplaint(t, s.Close(), tt.complaint)
		})
	}
}

func checkComplaint(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("it complains: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("it complains\n%v\nwant\n%s", err, want)
	}
}

func TestScript_whatTheServerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, `
			S: 220-mx.example
			S: 220 hi
			C: A
			S~ "250-\t\x00"
			PAUSE 90s
			S: 250 ok
			PAUSE 0s
			S: 250 and more
			CLOSE`, smtptest.Options{})
		conn := connect(t, s)
		began := time.Now()
		buf := make([]byte, 100)
		for _, want := range []string{"220-mx.example\r\n220 hi\r\n", "250-\t\x00", "250 ok\r\n", "250 and more\r\n"} {
			// One read from a pipe gets one write at most.
			n, err := conn.Read(buf)
			if got := string(buf[:n]); got != want || err != nil {
				t.Errorf("the server writes %q (%v), want %q", got, err, want)
			}
			if want[:3] == "220" {
				say(conn, "A\r\n")
			}
		}
		if took := time.Since(began); took != 90*time.Second {
			t.Errorf("that took %v", took)
		}
		if _, err := conn.Read(buf); err != io.EOF {
			t.Errorf("after CLOSE: %v", err)
		}
		_ = conn.Close()
		checkComplaint(t, s.Close(), "")
	})
}

func TestScript_DRIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, "DRIP 5s ab", smtptest.Options{})
		conn := connect(t, s)
		began := time.Now()
		hear(t, conn, "ababab")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("three times took %v", took)
		}
		_ = conn.Close()
		closed := time.Now()
		checkComplaint(t, s.Close(), "")
		if took := time.Since(closed); took != 0 {
			t.Errorf("it went on for %v after the client had closed", took)
		}
	})
}

func TestScript_STALL(t *testing.T) {
	for _, overTCP := range []bool{false, true} {
		s := start(t, "C: A\nSTALL", smtptest.Options{OverTCP: overTCP})
		conn := connect(t, s)
		say(conn, "A\r\n")
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		var err error
		for err == nil {
			_, err = conn.Write(make([]byte, 1<<20))
		}
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
			t.Errorf("writing to a server that does not read: %v", err)
		}
		_ = conn.Close()
		checkComplaint(t, s.Close(), "")
	}
}

func TestScript_RESET(t *testing.T) {
	s := start(t, `C~ "Subject: hel"`+"\nRESET", smtptest.Options{OverTCP: true})
	conn := connect(t, s)
	say(conn, "Subject: hel")
	if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("reading from a connection that was reset: %v, want an error that is not the end", err)
	}
	_ = conn.Close()
	checkComplaint(t, s.Close(), "")
}

func TestScript_connections(t *testing.T) {
	t.Run("they are played in their order", func(t *testing.T) {
		for _, overTCP := range []bool{false, true} {
			s := start(t, "S: one\n---\nS: two", smtptest.Options{OverTCP: overTCP})
			first := connect(t, s)
			second := connect(t, s)
			hear(t, second, "two\r\n")
			hear(t, first, "one\r\n")
			_, err := tryConnect(s)
			if err == nil || !strings.Contains(err.Error(), "the dialogue has 2") {
				t.Errorf("a third connection: %v", err)
			}
			_, _ = first.Close(), second.Close()
			checkComplaint(t, s.Close(), "")
		}
	})
	t.Run("all of them must be made", func(t *testing.T) {
		s := start(t, "HANG\n---\nS: two", smtptest.Options{})
		_ = connect(t, s).Close()
		checkComplaint(t, s.Close(), "the client made 1 of the dialogue's 2 connections: line 3 was not played\n\tstep: S: two")
	})
	t.Run("each complaint is kept", func(t *testing.T) {
		s := start(t, "C: A\n---\nC: B", smtptest.Options{})
		for range 2 {
			_ = connect(t, s).Close()
		}
		err := s.Close()
		checkComplaint(t, err, "connection 1, line 1")
		checkComplaint(t, err, "connection 2, line 3")
		if again := s.Close(); again.Error() != err.Error() {
			t.Errorf("a second Close returns %v", again)
		}
	})
	t.Run("one that the client leaves open is a complaint, not a hang", func(t *testing.T) {
		for _, dialogue := range []string{"S: 220 hi\nC: QUIT", "HANG", "STALL", "IGNORE", "DRIP 1h x", "PAUSE 1h"} {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, dialogue, smtptest.Options{})
				conn := connect(t, s)
				defer conn.Close()
				synctest.Wait()
				err := s.Close()
				checkComplaint(t, err, "connection 1 is still open 10s after the test: close the client first; the server is at line")
				checkComplaint(t, err, "step: "+dialogue[strings.LastIndex(dialogue, "\n")+1:])
			})
		}
	})
	t.Run("a closed script takes none", func(t *testing.T) {
		s := start(t, "", smtptest.Options{})
		checkComplaint(t, s.Close(), "")
		if _, err := tryConnect(s); err == nil {
			t.Error("it took one")
		}
	})
}

func TestScript_mistakesInTheDialogue(t *testing.T) {
	for _, tt := range []struct{ dialogue, want string }{
		{"S: 220 hi\n\tC EHLO x", `line 2 of the dialogue, "C EHLO x": no such step: there are S:`},
		{"S:220 hi", "no such step"},
		{"S~ 220", `a Go string is to follow, as in S~ "250-mx\r\n"`},
		{"C~ 220", `as in C~ "`},
		{"C/ (", "missing closing )"},
		{"PAUSE", "invalid duration"},
		{"DRIP x", "invalid duration"},
		{"DRIP 5s", "as in DRIP 5s x"},
		{"CLOSE it", "nothing can follow CLOSE"},
		{"TLS", "set Options.TLS"},
		{"RESET", "set Options.OverTCP"},
		{"HANG\nS: 220 hi", "it is never played: HANG in line 1 is the last step of its connection"},
	} {
		if _, err := smtptest.StartScript(tt.dialogue, smtptest.Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one with %q", tt.dialogue, err, tt.want)
		}
	}
}

func TestNewScript_reportsToTheTest(t *testing.T) {
	r := &recorder{TB: t}
	s := smtptest.NewScript(r, "C: NOOP", smtptest.Options{})
	_ = connect(t, s).Close()
	_ = s.Close()
	if got := r.all(); !strings.HasPrefix(got, "smtptest.Script: connection 1, line 1") {
		t.Errorf("reported: %s", got)
	}
}

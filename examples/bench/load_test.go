package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

const text = "From: <a@example.com>\r\nSubject: hi\r\n\r\n.\r\n..\r\n.a line\r\nand another\r\n"

// said is what all connections said to a server, which writes it from
// several goroutines.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// count returns how many lines begin with a word.
func (s *said) count(word string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count("\n"+s.b.String(), "\n"+word)
}

// shares returns how many messages each connection had, the most first.
func shares(messages []smtptest.Message) []int {
	on := make(map[int]int)
	for i := range messages {
		on[messages[i].Connection]++
	}
	return slices.SortedFunc(maps.Values(on), func(a, b int) int { return b - a })
}

// The dialogue is checked where there is no TLS: QUIT closes each connection, and
// BDAT is used unless it must not be.
func TestMessagesArrive(t *testing.T) {
	ones := slices.Repeat([]int{1}, 7)
	for _, tt := range []struct {
		args    string
		options smtptest.ServerOptions
		shares  []int // of seven messages
		verb    string
	}{
		{args: "", shares: []int{7}, verb: "BDAT"},
		{args: "-chunking=auto", shares: []int{7}, verb: "BDAT"},
		{args: "-chunking=off", shares: []int{7}, verb: "DATA"},
		{args: "-conns=3", shares: []int{3, 2, 2}, verb: "BDAT"},
		{args: "-conns=7", shares: ones, verb: "BDAT"},
		{args: "-conns=9", shares: ones, verb: "BDAT"},
		{args: "-reuse=true -rcpts=3", shares: []int{7}, verb: "BDAT"},
		{args: "-reuse=false", shares: ones, verb: "BDAT"},
		{args: "-reuse=false -conns=2", shares: ones, verb: "BDAT"},
		{args: "-depth=4", shares: []int{7}, verb: "BDAT"},
		{args: "-depth=100 -conns=2 -rcpts=2", shares: []int{4, 3}, verb: "BDAT"},
		{args: "-depth=4 -chunking=off", shares: []int{7}, verb: "DATA"},
		{args: "-tls=none", options: smtptest.ServerOptions{StartTLS: true}, shares: []int{7}, verb: "BDAT"},
		{args: "-tls=starttls", options: smtptest.ServerOptions{StartTLS: true}, shares: []int{7}},
		{args: "-tls=starttls -reuse=false -conns=2", options: smtptest.ServerOptions{StartTLS: true}, shares: ones},
		{args: "-tls=implicit", options: smtptest.ServerOptions{ImplicitTLS: true}, shares: []int{7}},
		{args: "-tls=implicit -conns=2 -depth=3", options: smtptest.ServerOptions{ImplicitTLS: true}, shares: []int{4, 3}},
		{args: "-lmtp=true -rcpts=3", options: smtptest.ServerOptions{Protocol: core.LMTP}, shares: []int{7}, verb: "BDAT"},
		{args: "-lmtp=true -chunking=off -depth=2", options: smtptest.ServerOptions{Protocol: core.LMTP}, shares: []int{7}, verb: "DATA"},
		{args: "-lmtp=true -tls=starttls", options: smtptest.ServerOptions{Protocol: core.LMTP, StartTLS: true}, shares: []int{7}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var dialogue said
			tt.options.Dialogue = &dialogue
			server := smtptest.NewServer(t, tt.options)
			recipients := 1
			if _, after, ok := strings.Cut(tt.args, "-rcpts="); ok {
				_, _ = fmt.Sscan(after, &recipients)
			}

			args := append(strings.Fields(tt.args), "-n=7", "-addr="+addressOf(server), "-file="+write(t, text), fmt.Sprintf("-size=%d", len(text)))
			status, out, errs := bench(t, args...)
			if status != 0 {
				t.Fatalf("status %d: %s", status, errs)
			}
			if values := result(t, out); values["sent"] != 7 || values["elapsed_s"] <= 0 {
				t.Errorf("result %v", values)
			}
			wantMessages(t, server.Messages(), 7, recipients, func(m smtptest.Message) {
				if string(m.Content) != text {
					t.Errorf("content %q", m.Content)
				}
				if encrypted := !strings.Contains(tt.args, "-tls=none") && strings.Contains(tt.args, "-tls="); (m.TLS != nil) != encrypted {
					t.Errorf("TLS %v", m.TLS)
				}
			})
			if got := shares(server.Messages()); !slices.Equal(got, tt.shares) {
				t.Errorf("messages on each connection: %v", got)
			}
			if tt.verb != "" {
				if n := dialogue.count("QUIT"); n != len(tt.shares) {
					t.Errorf("%d times QUIT on %d connections", n, len(tt.shares))
				}
				if n := dialogue.count(tt.verb); n != 7 {
					t.Errorf("%d times %s", n, tt.verb)
				}
			}
		})
	}
}

func wantMessages(t *testing.T, messages []smtptest.Message, n, recipients int, check func(smtptest.Message)) {
	t.Helper()
	if len(messages) != n {
		t.Fatalf("%d messages", len(messages))
	}
	for _, m := range messages {
		if m.From != "sender@bench.example" || m.Hello != "localhost" || len(m.To) != recipients {
			t.Fatalf("from %s at %s to %v", m.From, m.Hello, m.To)
		}
		for i, to := range m.To {
			if to.Address != fmt.Sprintf("rcpt%d@bench.example", i) {
				t.Errorf("recipient %d is %s", i, to)
			}
		}
		check(m)
	}
}

func TestMadeUpMessage_hasTheSize(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	if status, _, errs := bench(t, "-n=2", "-size=3000", "-chunking=off", "-addr="+addressOf(server)); status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	wantMessages(t, server.Messages(), 2, 1, func(m smtptest.Message) {
		if len(m.Content) != 3000 {
			t.Errorf("%d octets", len(m.Content))
		}
	})
}

func TestInterceptors_areAroundEverything(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	status, _, errs := bench(t, "-n=5", "-conns=2", "-interceptors=all", "-addr="+addressOf(server))
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	wantMessages(t, server.Messages(), 5, 1, func(m smtptest.Message) {
		if !bytes.HasPrefix(m.Content, []byte("DKIM-Signature: ")) || !bytes.Contains(m.Content, []byte("d=bench.example;")) {
			t.Errorf("content %.80q", m.Content)
		}
	})

	pipeline, stop, err := newPipeline()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var names []string
	for _, i := range pipeline {
		names = append(names, i.Name)
	}
	if got := strings.Join(names, " "); got != "telemetry retry ratelimit dkim dialogue" {
		t.Errorf("pipeline %s", got)
	}
}

// The server answers the first MAIL on each connection when all connections have
// come to it.
func TestConnections_areOpenAtOnce(t *testing.T) {
	const conns = 5
	var mu sync.Mutex
	seen := make(map[int]bool)
	all := make(chan struct{})
	server := smtptest.NewServer(t, smtptest.ServerOptions{Mail: func(e smtptest.Envelope) *core.Reply {
		mu.Lock()
		if !seen[e.Connection] {
			seen[e.Connection] = true
			if len(seen) == conns {
				close(all)
			}
		}
		mu.Unlock()
		select {
		case <-all:
			return nil
		case <-time.After(30 * time.Second):
			return smtptest.Reply("451 4.3.0 the others have not come")
		}
	}})
	if status, _, errs := bench(t, "-n=20", fmt.Sprintf("-conns=%d", conns), "-addr="+addressOf(server)); status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	if got := shares(server.Messages()); !slices.Equal(got, slices.Repeat([]int{4}, conns)) {
		t.Errorf("messages on each connection: %v", got)
	}
}

// Refusals are counted, and what comes behind them is sent all the same.
func TestRefusals_areAFailure(t *testing.T) {
	for _, args := range []string{"-depth=1", "-depth=3"} {
		t.Run(args, func(t *testing.T) {
			var mu sync.Mutex
			n := 0
			server := smtptest.NewServer(t, smtptest.ServerOptions{Rcpt: func(_ smtptest.Envelope, to smtptest.Recipient) *core.Reply {
				mu.Lock()
				defer mu.Unlock()
				if n++; n%4 == 0 { // of two recipients for each message
					return smtptest.Reply("550 5.1.1 no such mailbox")
				}
				return nil
			}})
			status, out, errs := bench(t, "-n=10", "-rcpts=2", args, "-addr="+addressOf(server))
			if status != 1 || !strings.Contains(errs, "5 of 10 messages accepted, 5 not accepted, 0 not tried; the first error: 1 of 2 recipients accepted, 1 refused: ") ||
				!strings.Contains(errs, "no such mailbox") {
				t.Errorf("status %d: %s", status, errs)
			}
			if sent := result(t, out)["sent"]; sent != 5 {
				t.Errorf("%v sent", sent)
			}
		})
	}
}

func TestStartTLS_isRequired(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	status, _, errs := bench(t, "-n=10", "-tls=starttls", "-addr="+addressOf(server))
	if status != 1 || !strings.Contains(errs, "0 of 10 messages accepted, 1 not accepted, 9 not tried") || !strings.Contains(errs, "STARTTLS") {
		t.Errorf("status %d: %s", status, errs)
	}
	if n := len(server.Messages()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// What the client refuses for its own reasons, it would refuse each time.
func TestWhatCannotBeSent_isTriedOnce(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	status, _, errs := bench(t, "-n=10", "-interceptors=all", "-file="+write(t, "Subject: of nobody\r\n\r\nhi\r\n"), "-addr="+addressOf(server))
	if status != 1 || !strings.Contains(errs, "0 of 10 messages accepted, 1 not accepted, 9 not tried") || !strings.Contains(errs, "From") {
		t.Errorf("status %d: %s", status, errs)
	}
}

// An LMTP server with TLS from the first octet is one that has a TLS proxy in
// front of it.
func TestLMTP_withImplicitTLS(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{Protocol: core.LMTP})
	config, _ := smtptest.NewCertificate(t, "127.0.0.1")
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	var proxies sync.WaitGroup
	t.Cleanup(proxies.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	proxies.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			proxies.Go(func() {
				defer func() { _ = client.Close() }()
				backend, err := net.Dial("tcp", addressOf(server))
				if err != nil {
					t.Error(err)
					return
				}
				proxies.Go(func() {
					_, _ = io.Copy(backend, client)
					_ = backend.Close()
				})
				_, _ = io.Copy(client, backend)
			})
		}
	})
	status, _, errs := bench(t, "-n=6", "-conns=2", "-rcpts=2", "-lmtp=true", "-tls=implicit", "-addr="+listener.Addr().String())
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	wantMessages(t, server.Messages(), 6, 2, func(smtptest.Message) {})
}

// A run that is stopped ends with what is under way, and says what it was.
func TestStop(t *testing.T) {
	var l *load
	server := smtptest.NewServer(t, smtptest.ServerOptions{Content: func(m smtptest.Message) *core.Reply {
		if m.ID == "Q3" {
			l.stop()
		}
		return nil
	}})
	f, err := parse([]string{"-n=10", "-addr=" + addressOf(server)})
	if err != nil {
		t.Fatal(err)
	}
	if l, err = newLoad(f, f.config(f.addr), newMessage([]byte(text), 1)); err != nil {
		t.Fatal(err)
	}
	if m := l.run(newProgress(io.Discard)); m.Sent != 3 {
		t.Errorf("sent %d", m.Sent)
	}
	if err := l.err(); err == nil || err.Error() != "3 of 10 messages accepted, 0 not accepted, 7 not tried, because of an interrupt" {
		t.Errorf("error %v", err)
	}
}

// What the measured loop adds to a Send is not to be seen in the result.
func TestRecord_allocatesNothing(t *testing.T) {
	c := &connection{load: &load{}, latencies: make([]time.Duration, 0, 1000)}
	receipt := &core.Receipt{Elapsed: time.Second}
	if n := testing.AllocsPerRun(100, func() { c.record(receipt, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

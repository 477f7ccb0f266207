package smtptest_test

import (
	"bytes"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestServer_announcesWhatItsOptionsSay(t *testing.T) {
	for _, tt := range []struct {
		options   smtptest.ServerOptions
		announced []string
	}{
		{smtptest.ServerOptions{}, []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SIZE"}},
		{smtptest.ServerOptions{SMTPUTF8: true, DSN: true, BINARYMIME: true, RRVS: true}, []string{"SMTPUTF8", "DSN", "BINARYMIME", "RRVS"}},
		{smtptest.ServerOptions{MaxSize: 1000, MaxRecipients: 2}, []string{"SIZE 1000", "LIMITS RCPTMAX=2"}},
		{smtptest.ServerOptions{ImplicitTLS: true, REQUIRETLS: true}, []string{"REQUIRETLS"}},
		{smtptest.ServerOptions{StartTLS: true}, []string{"STARTTLS"}},
		{smtptest.ServerOptions{Protocol: core.LMTP, SMTPUTF8: true}, []string{"SMTPUTF8", "PIPELINING"}},
		{smtptest.ServerOptions{Users: map[string]string{"ann": "x"}, Mechanisms: map[string]smtptest.AuthFunc{"X-TICKET": ticket}}, []string{"AUTH X-TICKET PLAIN"}},
	} {
		t.Run(strings.Join(tt.announced, ", "), func(t *testing.T) {
			s, err := core.Dial(t.Context(), smtptest.NewServer(t, tt.options).Config())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, line := range tt.announced {
				keyword, want, _ := strings.Cut(line, " ")
				if got, ok := s.Peer().Extensions.Param(keyword); !ok || got != want {
					t.Errorf("%s: announced: %v, with %q", line, ok, got)
				}
			}
		})
	}
}

func TestServer_mistakesInItsFunctionsAreReported(t *testing.T) {
	for _, tt := range []struct {
		mistake string
		options smtptest.ServerOptions
	}{
		{"panic in ServerOptions.Rcpt: oh", smtptest.ServerOptions{Rcpt: func(smtptest.Envelope, smtptest.Recipient) *core.Reply { panic("oh") }}},
		{"panic in ServerOptions.Content: oh", smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply { panic("oh") }}},
		{"panic in ServerOptions.Deliver: oh", smtptest.ServerOptions{Protocol: core.LMTP, Deliver: func(smtptest.Message, smtptest.Recipient) *core.Reply { panic("oh") }}},
		{"ServerOptions.Mail replies 250 ok", smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply { return smtptest.Reply("250 ok") }}},
		{"does not begin with a reply code", smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply { return smtptest.Reply("no") }}},
	} {
		t.Run(tt.mistake, func(t *testing.T) {
			server, err := smtptest.StartServer(tt.options)
			if err != nil {
				t.Fatal(err)
			}
			receipt, _ := clientOf(t, server).Send(t.Context(), message("bob@example.net"))
			if o := receipt.Recipients[0].Outcome; o != core.Deferred {
				t.Errorf("the client sees %s", o)
			}
			for range 2 {
				if err := server.Close(); err == nil || !strings.Contains(err.Error(), tt.mistake) {
					t.Errorf("Close returned %v", err)
				}
			}
		})
	}
	t.Run("to a test at once", func(t *testing.T) {
		r := &recorder{TB: t}
		server := smtptest.NewServer(r, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply { panic("oh") }})
		_, _ = clientOf(t, server).Send(t.Context(), message("bob@example.net"))
		if got := r.all(); !strings.Contains(got, "smtptest.Server: panic in ServerOptions.Content: oh") {
			t.Errorf("reported: %s", got)
		}
	})
}

func TestServer_options(t *testing.T) {
	own, _ := smtptest.NewCertificate(t, "x.example")
	for want, options := range map[string]smtptest.ServerOptions{
		"both StartTLS and ImplicitTLS":  {StartTLS: true, ImplicitTLS: true},
		"no URL for LMTP":                {ImplicitTLS: true, Protocol: core.LMTP},
		"TLS is set without":             {TLS: own},
		"RequireAuth is set without":     {RequireAuth: true},
		"Deliver is for LMTP":            {Deliver: func(smtptest.Message, smtptest.Recipient) *core.Reply { return nil }},
		"negative limit":                 {MaxSize: -1},
		`Mechanisms["X"] is nil`:         {Mechanisms: map[string]smtptest.AuthFunc{"X": nil}},
		"write the name in upper case":   {Mechanisms: map[string]smtptest.AuthFunc{"x": ticket}},
		"has PLAIN, which Users has too": {Users: map[string]string{"a": "b"}, Mechanisms: map[string]smtptest.AuthFunc{"PLAIN": ticket}},
	} {
		if _, err := smtptest.StartServer(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// What a client says and the server answers, line by line.
func TestServer_rules(t *testing.T) {
	const begin = "EHLO c.example -> 250\nMAIL FROM:<a@example.com> -> 250\n"
	for _, tt := range []struct {
		rule     string
		options  smtptest.ServerOptions
		dialogue string
	}{
		{"MAIL inside a transaction is out of order (RFC 5321 §4.1.4)", smtptest.ServerOptions{}, begin + "MAIL FROM:<b@example.com> -> 503\nRSET -> 250\nMAIL FROM:<b@example.com> -> 250"},
		{"a refused MAIL begins none", smtptest.ServerOptions{Mail: func(e smtptest.Envelope) *core.Reply {
			if e.From == "" {
				return smtptest.Reply("550 no")
			}
			return nil
		}}, "EHLO c.example -> 250\nMAIL FROM:<> -> 550\nMAIL FROM:<a@example.com> -> 250"},
		{"the limit of recipients (RFC 9422)", smtptest.ServerOptions{MaxRecipients: 1}, begin + "RCPT TO:<b@example.com> -> 250\nRCPT TO:<c@example.com> -> 452"},
		{"SIZE at the limit is accepted, over it refused (RFC 1870 §6.1)", smtptest.ServerOptions{MaxSize: 10}, "EHLO c.example -> 250\nMAIL FROM:<a@example.com> SIZE=11 -> 552\nMAIL FROM:<a@example.com> SIZE=10 -> 250"},
		{"content at the limit after BDAT", smtptest.ServerOptions{MaxSize: 4}, begin + "RCPT TO:<b@example.com> -> 250\nBDAT 4 LAST\r\nhi\r\n -> 250"},
		{"but not after DATA", smtptest.ServerOptions{MaxSize: 4}, begin + "RCPT TO:<b@example.com> -> 250\nDATA -> 354\nhi\r\n. -> 552"},
		{"below it", smtptest.ServerOptions{MaxSize: 5}, begin + "RCPT TO:<b@example.com> -> 250\nDATA -> 354\nhi\r\n. -> 250"},
		{"an LMTP server takes no EHLO (RFC 2033 §4.1)", smtptest.ServerOptions{Protocol: core.LMTP}, "EHLO c.example -> 500\nLHLO c.example -> 250"},
		{"an unknown mechanism (RFC 4954 §4)", smtptest.ServerOptions{Users: map[string]string{"ann": "x"}}, "EHLO c.example -> 250\nAUTH X-TICKET -> 504"},
		{"PLAIN without an initial response", smtptest.ServerOptions{Users: map[string]string{"ann": "x"}}, "EHLO c.example -> 250\nAUTH PLAIN -> 334\nAGFubgB4 -> 235"},
		{"no AUTH before STARTTLS where there is TLS (RFC 4954 §4)", smtptest.ServerOptions{StartTLS: true, Users: map[string]string{"ann": "x"}}, "EHLO c.example -> 250\nAUTH PLAIN AGFubgB4 -> 523"},
		{"a long line of content", smtptest.ServerOptions{}, begin + "RCPT TO:<b@example.com> -> 250\nDATA -> 354\n" + strings.Repeat("x", 1e5) + "\r\n. -> 250"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			server := smtptest.NewServer(t, tt.options)
			conn, err := textproto.Dial("tcp", server.URL()[len("smtp://"):])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, _, err := conn.ReadResponse(220); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(strings.ReplaceAll(tt.dialogue, "\r\n", "\r")) {
				say, reply, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				if err := conn.PrintfLine("%s", strings.ReplaceAll(say, "\r", "\r\n")); err != nil {
					t.Fatal(err)
				}
				code, _ := strconv.Atoi(reply)
				if _, text, err := conn.ReadResponse(code); err != nil {
					t.Fatalf("%.100q: %s, want %d: %v", say, text, code, err)
				}
			}
		})
	}
}

func TestServer_dialogue(t *testing.T) {
	var dialogue bytes.Buffer
	server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, Dialogue: &dialogue})
	if _, err := clientOf(t, server).Send(t.Context(), message("bob@example.net")); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"EHLO client.example\r\n", "MAIL FROM:<alice@example.com>", "250 2.0.0 queued as Q1\r\n"} {
		if !strings.Contains(dialogue.String(), want) {
			t.Errorf("%q is not in %q", want, dialogue.String())
		}
	}
}

// recorder is a test that keeps what is reported to it instead of failing.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	reported []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reported = append(r.reported, fmt.Sprintf(format, args...))
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.reported, "\n")
}

package dkim_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
)

const header = "From: Me <me@example.com>\r\nTo: you@example.net\r\nSubject:  Hello  there\r\n\tagain\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"

// send sends content through the interceptor to a server, and returns what
// arrived.
func send(t *testing.T, config dkim.Config, body core.Body) []byte {
	t.Helper()
	s := &server{}
	client := newClient(t, s.listen(t), mustNew(t, config))
	if _, err := client.Send(t.Context(), message(body)); err != nil {
		t.Fatal(err)
	}
	return s.received[0]
}

// normalise makes line ends right in the plainest way.
func normalise(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

func TestWhatArrivesVerifies(t *testing.T) {
	for _, tt := range []struct{ rule, content string }{
		{"a plain message", header + "\r\nHello.\r\n"},
		{"lines that are dots", header + "\r\n.\r\n..\r\n.a\r\n\r\n.\r\n"},
		{"no final CRLF", header + "\r\nHello."},
		{"LF alone as line end", strings.ReplaceAll(header, "\r\n", "\n") + "\nHello.\nBye.\n"},
		{"CR alone as line end", header + "\r\nHello.\rBye."},
		{"every kind of line end", header + "\nHello.\r\r\n\n\rBye.\r\n"},
		{"8-bit text", header + "Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße, 你好\r\n\xff\xfe\r\n"},
		{"no text", header + "\r\n"},
		{"no text and no empty line", header},
		{"no text, no empty line and no line end", strings.TrimSuffix(header, "\r\n")},
		{"no text, no empty line, and a CR as line end", strings.TrimSuffix(header, "\n")},
		{"empty lines at the end", header + "\r\nHello.\r\n\r\n\r\n\r\n"},
		{"white space at the ends of lines", header + "\r\nHello. \t \r\n \r\n\t\r\nBye.  \r\n \r\n"},
		{"a line of 998 octets", header + "\r\n" + strings.Repeat("x", 998) + "\r\n"},
		{"several fields of one name", "From: a@example.com\r\nList-Id: <1>\r\nX: y\r\nList-Id: <2>\r\n\r\nHello.\r\n"},
		{"a header longer than a buffer", "From: a@example.com\r\nTo: " + strings.Repeat("someone@example.net, someone@example.org,\r\n\t", 1500) + "b@example.net\r\n\r\nHello.\r\n"},
		{"a text longer than a buffer", header + "\r\n" + strings.Repeat("A line of the text, with a dot in front of the next.\r\n.\r\n", 5000)},
	} {
		for _, c := range []struct {
			name         string
			header, body dkim.Canonicalization
		}{
			{"relaxed/relaxed", dkim.Relaxed, dkim.Relaxed},
			{"simple/simple", dkim.Simple, dkim.Simple},
			{"relaxed/simple", dkim.Relaxed, dkim.Simple},
			{"simple/relaxed", dkim.Simple, dkim.Relaxed},
		} {
			t.Run(tt.rule+", "+c.name, func(t *testing.T) {
				a, b := rsaSignature(), edSignature()
				a.HeaderCanonicalization, a.BodyCanonicalization = c.header, c.body
				b.HeaderCanonicalization, b.BodyCanonicalization = c.header, c.body
				got := send(t, dkim.Config{Signatures: []dkim.Signature{a, b}}, core.String(tt.content))
				verdicts := verify(t, got)
				if len(verdicts) != 2 {
					t.Errorf("there are %d signatures, want 2", len(verdicts))
				}
				for _, v := range verdicts {
					if v.Err != nil || v.Domain != "example.com" {
						t.Errorf("%+v", v)
					}
				}
				want := normalise(tt.content)
				if !strings.Contains(want, "\r\n\r\n") {
					want += "\r\n"
				}
				if !strings.HasSuffix(string(got), "\r\n"+want) {
					t.Errorf("the message itself was changed: %.2000q", got)
				}
				if !strings.HasPrefix(string(got), "DKIM-Signature: a=rsa-sha256;") {
					t.Errorf("the signatures are not in front, in their order: %.200q", got)
				}
			})
		}
	}
}

func TestATamperedMessageFails(t *testing.T) {
	long := header + "List-Id: <1>\r\nContent-Type: text/plain\r\n\r\nHello.\r\n"
	got := string(send(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature(), edSignature()}}, core.String(long)))
	for _, tt := range []struct {
		rule, from, to string
		fails          bool
	}{
		{"nothing is changed", "Hello.", "Hello.", false},
		{"other white space passes where canonicalization is relaxed", "Hello  there", "Hello there", false},
		{"a field that is not signed may be added", "To: you", "X-Spam: no\r\nTo: you", false},
		{"another text", "Hello.", "Hullo.", true},
		{"a line more", "Hello.\r\n", "Hello.\r\nBye.\r\n", true},
		{"another subject", "Hello  there", "Hello you", true},
		{"another author", "Me <me@", "You <you@", true},
		{"a second author", "To: you", "From: you@example.org\r\nTo: you", true},
		{"a second subject", "To: you", "Subject: Buy\r\nTo: you", true},
		{"a Reply-To where there was none", "To: you", "Reply-To: you@example.org\r\nTo: you", true},
		{"a Cc where there was none", "To: you", "Cc: you@example.org\r\nTo: you", true},
		{"another content type", "text/plain", "text/html", true},
		{"a second content type", "To: you", "Content-Type: text/html\r\nTo: you", true},
		{"a field that a server adds where it lacks passes", "To: you", "Message-ID: <1@example.com>\r\nTo: you", false},
		{"a date taken away", "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n", "", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			before, after, ok := strings.Cut(got, tt.from)
			if !ok {
				t.Fatalf("there is no %q", tt.from)
			}
			for _, v := range verify(t, []byte(before+tt.to+after)) {
				if (v.Err != nil) != tt.fails {
					t.Errorf("%v", v.Err)
				}
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	for _, tt := range []struct{ rule, content, says string }{
		{"no From", "To: you@example.net\r\n\r\nHello.\r\n", "no From"},
		{"two of them", "From: a@example.com\r\nfrom: b@example.com\r\n\r\n", "2 From"},
		{"no content", "", "no From"},
		{"no header", "\r\nFrom: me@example.com\r\n", "no From"},
		{"a header that does not begin with a field", "Hello,\r\n\r\nFrom: me@example.com\r\n", "line 1 of the header"},
		{"a header that begins with a folded line", " From: me@example.com\r\n\r\n", "line 1 of the header"},
		{"the first line of an mbox", "From me@example.com Mon Jan 1 00:00:00 2024\nFrom: me@example.com\n\n", "line 1 of the header"},
		{"a line in the header that is no field", "From: me@example.com\r\nHello.\r\n\r\n", "line 2 of the header"},
		{"a field's name with a control character", "From: me@example.com\r\nX\x00: y\r\n\r\n", "line 2 of the header"},
		{"a header without end", "From: me@example.com\r\n" + strings.Repeat("X: y\r\n", 50_000), "empty line"},
		{"a field folded too often", "From: me@example.com\r\nX: y\r\n" + strings.Repeat(" z\r\n", 2000) + "\r\n", "2000 lines"},
		{"more signed fields than fit", "From: me@example.com\r\n" + strings.Repeat("To: you@example.net\r\n", 500) + "\r\n", "h="},
		{"a line of 999 octets", header + "\r\nHello.\r\n" + strings.Repeat("x", 999) + "\r\n", "line 8"},
		{"the same without a line end", header + "\r\n" + strings.Repeat("x", 999), "line 7"},
		{"a long line in the header", header + "X: " + strings.Repeat("x", 996) + "\r\n\r\n", "line 6"},
		{"a line longer than any buffer", header + "\r\n" + strings.Repeat("x", 100_000), "quoted-printable"},
		{"too many empty lines", header + "\r\n" + strings.Repeat(" \r\n", 40_000), "empty lines"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := &server{}
			client := newClient(t, s.listen(t), mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}}))
			receipt, err := client.Send(t.Context(), message(core.String(tt.content)))
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Stage != core.StagePolicy || e.Class != core.Local || !strings.Contains(e.Error(), tt.says) {
				t.Errorf("got %v, want a local error of the stage policy that says %q", err, tt.says)
			}
			if o := receipt.Recipients[0].Outcome; o != core.Refused {
				t.Errorf("the recipient is %v, want refused", o)
			}
			if _, mails := s.counts(); mails != 0 {
				t.Errorf("a transaction was begun")
			}
		})
	}
}

func TestABinaryMessageIsRefused(t *testing.T) {
	s := &server{}
	client := newClient(t, s.listen(t), mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}}))
	m := message(core.String(header + "\r\nHello.\r\n"))
	m.Binary = true
	if _, err := client.Send(t.Context(), m); err == nil || !strings.Contains(err.Error(), "binary") {
		t.Errorf("got %v", err)
	}
}

func TestAllowLongLines(t *testing.T) {
	got := send(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature()}, AllowLongLines: true}, core.String(header+"\r\n"+strings.Repeat("x", 100_000)+"\r\n"))
	if v := verify(t, got); v[0].Err != nil {
		t.Error(v[0].Err)
	}
}

func TestTheTagsThatTheConfigurationAsksFor(t *testing.T) {
	s := rsaSignature()
	s.Identity, s.Expiration = "news@mail.example.com", 48*time.Hour
	s.HeaderKeys, s.OverSign = []string{"subject", "X-Campaign", "Subject", "To"}, []string{"From", "List-Id"}
	v := verify(t, send(t, dkim.Config{Signatures: []dkim.Signature{s}}, core.String(header+"X-Campaign: 1\r\nX-Campaign: 2\r\n\r\nHello.\r\n")))[0]
	if v.Err != nil || v.Identifier != s.Identity {
		t.Errorf("%+v", v)
	}
	if got, want := strings.Join(v.HeaderKeys, ":"), "From:From:subject:X-Campaign:X-Campaign:To:List-Id"; got != want {
		t.Errorf("h=%s, want %s", got, want)
	}
	if d := v.Expiration.Sub(v.Time); d != 48*time.Hour {
		t.Errorf("it is valid for %v, want 48h", d)
	}
}

// counting counts how often a key is used.
type counting struct {
	crypto.Signer
	n atomic.Int64
}

func (c *counting) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	c.n.Add(1)
	return c.Signer.Sign(random, digest, o)
}

// thrice calls next again twice, as a retry does.
var thrice = core.Interceptor{Name: "thrice", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) error {
		_ = next(ctx, d)
		_ = next(ctx, d)
		return next(ctx, d)
	}
}}

func TestARetryDoesNotSignAgain(t *testing.T) {
	s := &server{answer: func(n int) error {
		if n < 3 {
			return &smtp.SMTPError{Code: 451, Message: "later"}
		}
		return nil
	}}
	key := &counting{Signer: keys().ed}
	i := mustNew(t, dkim.Config{Signatures: []dkim.Signature{{Domain: "example.com", Selector: "e1", Signer: key}}})
	client := newClient(t, s.listen(t), thrice, i)
	if _, err := client.Send(t.Context(), message(core.String(header+"\r\nHello.\r\n"))); err != nil {
		t.Fatal(err)
	}
	if n := key.n.Load(); n != 1 {
		t.Errorf("the key was used %d times, want once", n)
	}
	for _, content := range s.received {
		if !bytes.Equal(content, s.received[0]) {
			t.Error("the attempts sent different content")
		}
		if v := verify(t, content); v[0].Err != nil {
			t.Error(v[0].Err)
		}
	}
	if _, err := client.Send(t.Context(), message(core.String(header+"\r\nHello.\r\n"))); err != nil || key.n.Load() != 2 {
		t.Errorf("another delivery: got %v, and the key was used %d times, want twice", err, key.n.Load())
	}
}

func TestConcurrentUse(t *testing.T) {
	s := &server{}
	client := newClient(t, s.listen(t), mustNew(t, dkim.Config{Signatures: []dkim.Signature{rsaSignature(), edSignature()}}))
	errs := make(chan error)
	for n := range 50 {
		go func() {
			_, err := client.Send(t.Context(), message(core.String(fmt.Sprintf("%s\r\nNumber %d.\r\n%s", header, n, strings.Repeat("x\r\n", n*100)))))
			errs <- err
		}()
	}
	for range 50 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, content := range s.received {
		for _, v := range verify(t, content) {
			if v.Err != nil {
				t.Error(v.Err)
			}
		}
	}
}

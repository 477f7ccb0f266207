package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// The envelope comes from the header, and what the recipients must not see stays
// here.
func ExampleReadMessage() {
	m, err := core.ReadMessage([]byte("From: Alice <alice@example.com>\n" +
		"To: Friends: Bob <bob@example.net>, carol@example.net;\n" +
		"Bcc: dave@example.org\n" +
		"Subject: hello\n" +
		"\n" +
		"Hello.\n"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("from", m.From)
	for _, r := range m.To {
		fmt.Println("to", r.Address)
	}
	content, err := m.Body.Open(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer content.Close()
	_, _ = io.Copy(os.Stdout, content)

	// Output:
	// from alice@example.com
	// to bob@example.net
	// to carol@example.net
	// to dave@example.org
	// From: Alice <alice@example.com>
	// To: Friends: Bob <bob@example.net>, carol@example.net;
	// Subject: hello
	//
	// Hello.
}

// What a sender wants to be told, and when the message is to be delivered, stands
// in parameters of the envelope.
func ExampleNotify() {
	m := &core.Message{
		From:   "alice@example.com",
		To:     core.Recipients("bob@example.net", "carol@example.net"),
		Params: []core.Param{core.ReturnHeaders(), core.EnvelopeID("invoice 42"), core.DeliverBy(time.Hour, core.OrNotify)},
	}
	m.To[0].Params = []core.Param{core.Notify(core.OnSuccess, core.OnFailure)}
	m.To[1].Params = []core.Param{core.NotifyNever()}
	fmt.Println(m.Params, m.To[0].Params, m.To[1].Params)

	// Output:
	// [RET=HDRS ENVID=invoice+2042 BY=3600;N] [NOTIFY=SUCCESS,FAILURE] [NOTIFY=NEVER]
}

func TestReadMessage_onTheWire(t *testing.T) {
	const offer = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-8BITMIME\nS: 250-SMTPUTF8\nS: 250 PIPELINING\n"
	for _, tt := range []struct{ rule, dialogue, content string }{
		{"44 Bcc is a recipient and never leaves", pipelining + `
			C: MAIL FROM:<a@example.com>
			C| RCPT TO:<b@example.com>
			C| RCPT TO:<c@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: From: a@example.com
			C| To: b@example.com
			C| Subject: hi
			C|
			C| text
			C| .
			S: 250 ok`,
			"From: a@example.com\nTo: b@example.com\nBcc:\n  C <c@example.com>\nSubject: hi\n\ntext\n"},
		{"45 a name that is not ASCII needs no SMTPUTF8", offer + `
			C: MAIL FROM:<a@example.com> BODY=8BITMIME
			C| RCPT TO:<b@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: From: Jürgen <a@example.com>
			C| To: b@example.com
			C|
			C| .
			S: 250 ok`,
			"From: Jürgen <a@example.com>\r\nTo: b@example.com\r\n\r\n"},
		{"45 an address that is not ASCII has it, and 8BITMIME", offer + `
			C: MAIL FROM:<a@example.com> BODY=8BITMIME SMTPUTF8
			C| RCPT TO:<ü@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: From: a@example.com
			C| To: ü@example.com
			C|
			C| .
			S: 250 ok`,
			"From: a@example.com\r\nTo: ü@example.com\r\n\r\n"},
		{"F16 a quoted local part goes out as it is", pipelining + `
			C: MAIL FROM:<"a@evil x"@good.example>
			C| RCPT TO:<"b> SIZE=1 <c"@example.com>
			C| DATA
			S: 250 ok
			S: 250 ok
			S: 354 go on
			C: From: "a@evil x"@good.example
			C| To: "b> SIZE=1 <c"@example.com
			C|
			C| .
			S: 250 ok`,
			"From: \"a@evil x\"@good.example\r\nTo: \"b> SIZE=1 <c\"@example.com\r\n\r\n"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m, err := core.ReadMessage([]byte(tt.content))
			if err != nil {
				t.Fatal(err)
			}
			fromFile, err := core.ReadMessageFile(messageFile(t, tt.content))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []*core.Message{m, fromFile} {
				c := newClient(t, tt.dialogue+bye, smtptest.Options{})
				if _, err := c.Send(t.Context(), m); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestReadMessageFile(t *testing.T) {
	const limit = 1 << 20 // of the header
	t.Run("a file that is not there", func(t *testing.T) {
		if _, err := core.ReadMessageFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		if _, err := core.ReadMessageFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a header of any size up to the limit, and what is behind it", func(t *testing.T) {
		const head = "From: a@x\r\nBcc: c@x\r\nX: "
		for _, size := range []int{4 << 10, 64 << 10, limit - len(head) - 4} {
			x := strings.Repeat("x", size)
			m, err := core.ReadMessageFile(messageFile(t, head+x+"\r\n\r\n"+x))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := bodyOctets(t, m.Body); err != nil || got != "From: a@x\r\nX: "+x+"\r\n\r\n"+x {
				t.Errorf("the body has %d octets, or others: %v", len(got), err)
			}
		}
	})
	t.Run("a header beyond the limit is an error, wherever it is cut", func(t *testing.T) {
		for n := range 12 {
			content := "From: a@x\r\nTo: c@x\r\nX: " + strings.Repeat("x", limit-30+n) + "\r\nBcc: c@x\r\n\r\n"
			if m, err := core.ReadMessageFile(messageFile(t, content)); err == nil {
				t.Errorf("%d: got a message with %d octets", n, m.Body.Size())
			}
		}
	})
	t.Run("44 a file that has changed is not sent with the old header", func(t *testing.T) {
		name := messageFile(t, "From: a@x\nBcc: c@x\n\ntext\n")
		m, err := core.ReadMessageFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range []string{"From: a@x\nTo: b@x\nBcc: c@x\n\ntext\n", "From: a@x\nBcc: d@x\n\ntext\n"} {
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if _, err := bodyOctets(t, m.Body); err == nil || !strings.Contains(err.Error(), "changed") {
				t.Errorf("got %v", err)
			}
		}
	})
}

// messageFile makes a file.
func messageFile(t *testing.T, content string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "message.eml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// bodyOctets returns what a body yields.
func bodyOctets(t *testing.T, b core.Body) (string, error) {
	t.Helper()
	r, err := b.Open(t.Context())
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	octets, err := io.ReadAll(r)
	return string(octets), err
}

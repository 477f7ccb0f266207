package headers_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/headers"
)

const both = dateLine + idLine

func TestWhatIsMissingIsAddedAndBccIsRemoved(t *testing.T) {
	for _, tt := range []struct {
		rule, content, want string
	}{
		{"RFC 5322 §3.6.1, §3.6.4: Date and Message-ID are added behind the last field",
			"From: a@b.example\r\nSubject: x\r\n\r\nHello.\r\n",
			"From: a@b.example\r\nSubject: x\r\n" + both + "\r\nHello.\r\n"},
		{"what is there stays, octet for octet",
			"DATE: Mon,\r\n 1 Jan 2001 00:00:00 GMT\r\nMessage-Id : <x@y>\r\n\r\nHello.\r\n",
			"DATE: Mon,\r\n 1 Jan 2001 00:00:00 GMT\r\nMessage-Id : <x@y>\r\n\r\nHello.\r\n"},
		{"only Date is missing", "Message-ID: <x@y>\r\n\r\n", "Message-ID: <x@y>\r\n" + dateLine + "\r\n"},
		{"only Message-ID is missing", "Date: now\r\n\r\n", "Date: now\r\n" + idLine + "\r\n"},
		{"a field in the text is none", "A: b\r\n\r\nDate: x\r\nBcc: c@d.example\r\n", "A: b\r\n" + both + "\r\nDate: x\r\nBcc: c@d.example\r\n"},
		{"Resent-Date is another field", "Resent-Date: x\r\n\r\n", "Resent-Date: x\r\n" + both + "\r\n"},
		{"Bcc goes, folded, in any case, more than once, and with its space (RFC 5322 §4.5)",
			"A: b\r\nBcc: c@d.example,\r\n\te@f.example\r\nBCC : g@h.example\r\nC: d\r\n e\r\nresent-bcc:\r\n i@j.example\r\n\r\n",
			"A: b\r\nC: d\r\n e\r\n" + both + "\r\n"},
		{"lines that end in LF are fields too, and stay as they are until they are sent",
			"A: b\nBcc: c@d.example\n\te@f.example\nC: d\n\nHello.\n",
			"A: b\r\nC: d\r\n" + both + "\r\nHello.\r\n"},
		{"LF and CRLF may be mixed", "A: b\r\nC: d\n\r\nHello.\n", "A: b\r\nC: d\r\n" + both + "\r\nHello.\r\n"},
		{"no header at all", "\r\nHello.\r\n", both + "\r\nHello.\r\n"},
		{"no header at all, with LF", "\nHello.\n", both + "\r\nHello.\r\n"},
		{"nothing at all", "", both},
		{"a header and no text", "A: b\r\n\r\n", "A: b\r\n" + both + "\r\n"},
		{"a header without the line that ends it", "A: b\r\n", "A: b\r\n" + both},
		{"a header whose last line is not ended", "A: b", "A: b\r\n" + both},
		{"a Bcc that is all there is, and not ended", "Bcc: c@d.example", both},
		{"a field without a value", "A:\r\n\r\n", "A:\r\n" + both + "\r\n"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := deliver(t, headers.Config{}, core.String(tt.content))
			if err != nil || got != tt.want {
				t.Errorf("delivered %q, %v\nwant      %q", got, err, tt.want)
			}
		})
	}
}

func TestAHeaderThatIsNoneIsRefused(t *testing.T) {
	for _, tt := range []struct{ rule, content, says string }{
		{"text without a header", "Hello, world.\r\n", "line 1 of the header is no field"},
		{"text with a colon", "Hello world: one\r\n\r\n", "line 1 of the header is no field"},
		{"a line behind the first", "A: b\r\nHello\r\n\r\n", "line 2 of the header is no field"},
		{"a field without a name", "A: b\r\n: c\r\n\r\n", "line 2 of the header is no field"},
		{"a continuation of nothing", " A: b\r\n\r\n", "line 1 of the header is no field"},
		{"the line of an mbox file", "From a@b.example Mon Jan  1\r\nA: b\r\n\r\n", "belongs to an mbox file"},
		{"a bare CR, behind which a field would hide", "A: b\rBcc: c@d.example\r\n\r\n", "line 1 of the header has a bare CR"},
		{"a bare CR at the end of a line", "A: b\r\r\nC: d\r\n\r\n", "line 1 of the header has a bare CR"},
		{"a bare CR at the end of it all", "A: b\r", "line 1 of the header has a bare CR"},
		{"a bare CR that would end the header", "A: b\r\n\rBcc: c@d.example\r\n\r\n", "line 2 of the header has a bare CR"},
		{"a header of more than 256 KiB", "A: b\r\n" + strings.Repeat("C: "+strings.Repeat("d", 994)+"\r\n", 263) + "\r\n", "longer than 262144 octets"},
		{"256 KiB without a line end", "A:" + strings.Repeat("d", 300_000), "longer than 262144 octets"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := deliver(t, headers.Config{}, core.String(tt.content))
			if got != "" {
				t.Errorf("delivered %.100q", got)
			}
			wantLocal(t, err, tt.says)
		})
	}
}

func TestAHeaderOf256KiBIsNotTooLong(t *testing.T) {
	header := strings.Repeat("C: "+strings.Repeat("d", 1019)+"\r\n", 256)
	header = header[:len(header)-4] + "\r\n\r\n"
	if len(header) != 256<<10 {
		t.Fatal(len(header))
	}
	got, err := deliver(t, headers.Config{}, core.String(header+"Hello.\r\n"))
	if want := header[:len(header)-2] + both + "\r\nHello.\r\n"; err != nil || got != want {
		t.Errorf("delivered %d octets, %v", len(got), err)
	}
}

func TestWhatTheConfigurationSays(t *testing.T) {
	perMessage := func(m *core.Message) string { return "for " + m.To[0].Address }
	nothing := func(*core.Message) string { return "" }
	off := headers.Config{LeaveDate: true, LeaveMessageID: true}
	with := func(change func(*headers.Config)) headers.Config {
		config := off
		change(&config)
		return config
	}
	for _, tt := range []struct {
		rule          string
		config        headers.Config
		content, want string
	}{
		{"all is left alone", with(func(c *headers.Config) { c.LeaveBcc = true }), "Bcc: x@y.example\r\n\r\n", "Bcc: x@y.example\r\n\r\n"},
		{"Date is left to the server", headers.Config{LeaveDate: true}, "A: b\r\n\r\n", "A: b\r\n" + idLine + "\r\n"},
		{"Message-ID is left to the server", headers.Config{LeaveMessageID: true}, "A: b\r\n\r\n", "A: b\r\n" + dateLine + "\r\n"},
		{"the domain of Message-ID", headers.Config{LeaveDate: true, Domain: "bücher.example"}, "\r\n", "Message-ID: <ID@xn--bcher-kva.example>\r\n\r\n"},
		{"a field is set in the place of the first, and the others go",
			with(func(c *headers.Config) { c.Set = []headers.Field{{Name: "X-One", Value: "new"}} }),
			"A: b\r\nx-one: old\r\n older\r\nC: d\r\nX-ONE: oldest\r\nE: f\r\n\r\n", "A: b\r\nX-One: new\r\nC: d\r\nE: f\r\n\r\n"},
		{"a field is set where there was none",
			with(func(c *headers.Config) { c.Set = []headers.Field{{Name: "X-One", Value: "new"}} }),
			"A: b\r\n\r\n", "A: b\r\nX-One: new\r\n\r\n"},
		{"a field is added to those that are there",
			with(func(c *headers.Config) {
				c.Add = []headers.Field{{Name: "X-One", Value: "new"}, {Name: "X-One", Value: "newer"}}
			}),
			"X-One: old\r\n\r\n", "X-One: old\r\nX-One: new\r\nX-One: newer\r\n\r\n"},
		{"fields are removed", with(func(c *headers.Config) { c.Remove = []string{"X-ONE", "X-Two"} }),
			"X-One: old\r\n\tolder\r\nA: b\r\nX-Two: x\r\nX-One: y\r\n\r\n", "A: b\r\n\r\n"},
		{"a field of another name that begins like it is not", with(func(c *headers.Config) { c.Remove = []string{"X-One"} }),
			"X-One-More: a\r\nX-On: b\r\n\r\n", "X-One-More: a\r\nX-On: b\r\n\r\n"},
		{"a function is asked for each message",
			with(func(c *headers.Config) { c.Set = []headers.Field{{Name: "X-One", Func: perMessage}} }),
			"X-One: old\r\n\r\n", "X-One: for you@example.net\r\n\r\n"},
		{"a function that says nothing leaves the message as it is",
			with(func(c *headers.Config) {
				c.Set, c.Add = []headers.Field{{Name: "X-One", Func: nothing}}, []headers.Field{{Name: "X-Two", Func: nothing}}
			}),
			"X-One: old\r\n\r\n", "X-One: old\r\n\r\n"},
		{"a Date that is set is the Date", headers.Config{LeaveMessageID: true, Set: []headers.Field{{Name: "date", Value: "Tue, 3 Feb 2026 00:00:00 +0000"}}},
			"A: b\r\n\r\n", "A: b\r\ndate: Tue, 3 Feb 2026 00:00:00 +0000\r\n\r\n"},
		{"a Date that is removed is missing", headers.Config{LeaveMessageID: true, Remove: []string{"Date"}},
			"Date: x\r\nA: b\r\n\r\n", "A: b\r\n" + dateLine + "\r\n"},
		{"a Message-ID that a function does not give is missing", headers.Config{LeaveDate: true, Set: []headers.Field{{Name: "Message-ID", Func: nothing}}},
			"A: b\r\n\r\n", "A: b\r\n" + idLine + "\r\n"},
		{"a header that is all removed", with(func(*headers.Config) {}), "Bcc: x@y.example\r\n\r\nHello.\r\n", "\r\nHello.\r\n"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := deliver(t, tt.config, core.String(tt.content))
			if err != nil || got != tt.want {
				t.Errorf("delivered %q, %v\nwant      %q", got, err, tt.want)
			}
		})
	}
}

func TestMessageID_hasTheDomainOfTheSender(t *testing.T) {
	for from, want := range map[string]string{
		"me@sender.example":       "@sender.example>",
		`"a@b"@sender.example`:    "@sender.example>",
		"me@[192.0.2.1]":          "@[192.0.2.1]>",
		"me@[IPv6:2001:db8::1]":   "@[IPv6:2001:db8::1]>",
		"me@bücher.example":       "@xn--bcher-kva.example>",
		"jörg@xn--bcher-kva.test": "@xn--bcher-kva.test>",
	} {
		server := smtptest.NewServer(t, smtptest.ServerOptions{SMTPUTF8: true})
		m := message(core.String("A: b\r\n\r\n"))
		m.From = from
		if _, err := newClient(t, server.Config(), mustNew(t, headers.Config{LeaveDate: true})).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		got := string(server.Messages()[0].Content)
		if !strings.Contains(hideIDs(got), "Message-ID: <ID"+want+"\r\n") {
			t.Errorf("from %s: sent %q, want %s", from, got, want)
		}
	}
}

func TestMessageID_ofAMessageWithoutASenderHasADomainAllTheSame(t *testing.T) {
	b, err := edit(t, mustNew(t, headers.Config{LeaveDate: true}), core.String("\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hideIDs(read(t, b)); strings.Contains(got, "@>") || !strings.HasPrefix(got, "Message-ID: <ID@") {
		t.Errorf("got %q", got)
	}
}

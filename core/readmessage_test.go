package core

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// read returns what a body yields.
func read(t *testing.T, b Body) string {
	t.Helper()
	r, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	octets, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if size := b.Size(); size != int64(len(octets)) {
		t.Errorf("the body says that it has %d octets and has %d", size, len(octets))
	}
	return string(octets)
}

// envelope is a message's envelope in short: "a@x -> b@y c@z".
func envelope(m *Message) string {
	s := m.From + " ->"
	for _, r := range m.To {
		s += " " + r.Address
	}
	return s
}

func TestReadMessage_envelope(t *testing.T) {
	for _, tt := range []struct{ rule, header, want string }{
		{"42 From and To", "From: a@example.com\nTo: b@example.com\n", "a@example.com -> b@example.com"},
		{"42 Sender before From", "From: a@example.com\nSender: s@example.com\nTo: b@example.com\n", "s@example.com -> b@example.com"},
		{"42 the first of several From", "From: A <a@example.com>, Z <z@example.com>\nTo: b@example.com\n", "a@example.com -> b@example.com"},
		{"42 the first of several From headers", "From: a@example.com\nFrom: z@example.com\nTo: b@example.com\n", "a@example.com -> b@example.com"},
		{"42 To, Cc and Bcc, in this order", "Bcc: d@example.com\nCc: c@example.com\nTo: b@example.com\nFrom: a@example.com\n", "a@example.com -> b@example.com c@example.com d@example.com"},
		{"42 all of repeated To, Cc and Bcc headers", "From: a@example.com\nTo: b@example.com\nCc: c@example.com\nBcc: d@example.com\nTo: e@example.com\nCc: f@example.com\nBcc: g@example.com\n",
			"a@example.com -> b@example.com e@example.com c@example.com f@example.com d@example.com g@example.com"},
		{"42 Bcc alone will do", "From: a@example.com\nBcc: d@example.com\n", "a@example.com -> d@example.com"},
		{"42 groups are expanded (RFC 5322 §3.4)", "From: a@example.com\nTo: x@example.com, Team: b@example.com, C <c@example.com>;, y@example.com\n",
			"a@example.com -> x@example.com b@example.com c@example.com y@example.com"},
		{"42 an empty group holds nobody", "From: a@example.com\nTo: undisclosed-recipients:;\nBcc: d@example.com\n", "a@example.com -> d@example.com"},
		{"42 a group as From (RFC 6854 §2)", "From: Team: a@example.com, z@example.com;\nTo: b@example.com\n", "a@example.com -> b@example.com"},
		{"42 names of fields in any case, with space in front of the colon (RFC 5322 §4.5)", "FROM : a@example.com\nto\t: b@example.com\nbCC : d@example.com\n", "a@example.com -> b@example.com d@example.com"},
		{"42 folded fields (RFC 5322 §2.2.3)", "From:\n a@example.com\nTo: B\n\t<b@example.com>,\n \n c@example.com\n", "a@example.com -> b@example.com c@example.com"},
		{"42 empty fields hold nobody", "From: a@example.com\nTo: b@example.com\nCc:\nBcc: \t\nBcc: (nobody)\n", "a@example.com -> b@example.com"},
		{"42 empty members of a list (RFC 5322 §4.4)", "From: a@example.com\nTo: , b@example.com,, c@example.com,\n", "a@example.com -> b@example.com c@example.com"},
		{"42 a header like another is not it", "From: a@example.com\nTo: b@example.com\nX-To: x@example.com\nApparently-To: y@example.com\nReply-To: z@example.com\n", "a@example.com -> b@example.com"},
		{"37 a duplicate is one recipient", "From: a@example.com\nTo: b@example.com, B <b@EXAMPLE.com>\nCc: b@example.com\n", "a@example.com -> b@example.com"},
		{"37 a local part in another case is another recipient (RFC 5321 §2.4)", "From: a@example.com\nTo: b@example.com, B@example.com\n", "a@example.com -> b@example.com B@example.com"},

		{"43 a Resent- block replaces them", "Resent-Date: x\nResent-From: r@example.com\nResent-To: s@example.com\nFrom: a@example.com\nTo: b@example.com\nBcc: d@example.com\n", "r@example.com -> s@example.com"},
		{"43 Resent-Sender before Resent-From", "Resent-From: r@example.com\nResent-Sender: q@example.com\nResent-To: s@example.com\nFrom: a@example.com\nSender: z@example.com\n", "q@example.com -> s@example.com"},
		{"43 Resent-To, Resent-Cc and Resent-Bcc", "resent-bcc: u@example.com\nResent-Cc: t@example.com\nResent-To: s@example.com\nResent-From: r@example.com\n", "r@example.com -> s@example.com t@example.com u@example.com"},
		{"43 repeated ones of them are one block", "Resent-Date: x\nResent-From: r@example.com\nResent-To: s@example.com\nResent-To: t@example.com\n", "r@example.com -> s@example.com t@example.com"},

		{"45 a name in RFC 2047's encoding", "From: =?utf-8?q?J=C3=BCrgen?= <a@example.com>\nTo: =?utf-8?b?YiwgYyA8eEB5Pg==?= <b@example.com>\n", "a@example.com -> b@example.com"},
		{"45 in a charset that nobody knows", "From: =?x-klingon?q?a?= <a@example.com>\nTo: b@example.com\n", "a@example.com -> b@example.com"},
		{"45 a name in UTF-8 (RFC 6532)", "From: Jürgen <a@example.com>\nTo: \"例\" <b@example.com>\n", "a@example.com -> b@example.com"},
		{"45 addresses in UTF-8 (RFC 6532)", "From: ü@bücher.example\nTo: 例@例.example\n", "ü@bücher.example -> 例@例.example"},
		{"35 comments (RFC 5322 §3.2.2)", "From: (c) A (c) <a@example.com> (c)\nTo: (x@example.com, (nested \\) ) ) b@example.com (B), \"(\" <c@example.com>\n", "a@example.com -> b@example.com c@example.com"},
		{"F16 a quoted local part stays quoted, and is one", "From: \"a@evil x\"@good.example\nTo: \"a> SIZE=1 <b\"@example.com, \"c, d\"@example.com\n",
			`"a@evil x"@good.example -> "a> SIZE=1 <b"@example.com "c, d"@example.com`},
		{"F16 quotes and backslashes in it", `From: "a\"\\b"@example.com` + "\nTo: \"(b)\"@example.com, \"\\c\\@\\(\"@example.com\n", `"a\"\\b"@example.com -> "(b)"@example.com "c@("@example.com`},
		{"F16 quotes that are not needed", "From: \"a.b\"@example.com\nTo: \".b.\"@example.com, \"b..c\"@example.com\n", `a.b@example.com -> ".b."@example.com "b..c"@example.com`},
		{"F16 an encoded word is no address", "From: =?utf-8?q?x=40y?=@example.com\nTo: =?utf-8?q?x=40evil.example=3E?= <b@example.com>\n", "=?utf-8?q?x=40y?=@example.com -> b@example.com"},
		{"F18 an address literal", "From: a@[192.0.2.1]\nTo: b@example.com\n", "a@[192.0.2.1] -> b@example.com"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, end := range []string{"", "\n", "\ntext\n", "\nTo: x@example.com\nBcc: y@example.com\n"} {
				for _, lines := range []string{"\n", "\r\n"} {
					m, err := ReadMessage([]byte(strings.ReplaceAll(tt.header+end, "\n", lines)))
					if err != nil {
						t.Fatal(err)
					}
					if got := envelope(m); got != tt.want {
						t.Errorf("the envelope is %s, want %s", got, tt.want)
					}
					if err := m.Check(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestReadMessage_BccNeverLeaves_44(t *testing.T) {
	const rest = "Subject: hi\n\nBcc: this is text\nFrom me\n"
	for _, tt := range []struct{ rule, content, want string }{
		{"without Bcc nothing changes", "From: a@x\nTo: b@x\n" + rest, "From: a@x\nTo: b@x\n" + rest},
		{"Bcc", "From: a@x\nTo: b@x\nBcc: c@x\n" + rest, "From: a@x\nTo: b@x\n" + rest},
		{"Resent-Bcc, and Bcc with it", "Resent-Bcc: c@x\nResent-From: a@x\nBcc: d@x\n" + rest, "Resent-From: a@x\n" + rest},
		{"in any case, more than once", "bcc: c@x\nFrom: a@x\nBCC: c@x\nrEsEnT-bCc: d@x\nResent-From: a@x\nBcC: e@x\n" + rest, "From: a@x\nResent-From: a@x\n" + rest},
		{"with space in front of the colon", "From: a@x\nBcc : c@x\nBcc\t \t: c@x\n" + rest, "From: a@x\n" + rest},
		{"folded", "From: a@x\nBcc: c@x,\n\td@x,\n  e@x\n" + rest, "From: a@x\n" + rest},
		{"folded behind the colon, and with a line of nothing but space", "From: a@x\nBcc:\n c@x,\n \n\t\n d@x\n" + rest, "From: a@x\n" + rest},
		{"an empty one", "From: a@x\nTo: b@x\nBcc:\n" + rest, "From: a@x\nTo: b@x\n" + rest},
		{"the last field", "From: a@x\nBcc: c@x\n\ntext\n", "From: a@x\n\ntext\n"},
		{"at the end of the content", "From: a@x\nBcc: c@x", "From: a@x\n"},
		{"spaces and folding of the others", "from  :a@x\nX:\t1 \n \n\t2\nBcc: c@x\nTo:b@x\n\n\n\n", "from  :a@x\nX:\t1 \n \n\t2\nTo:b@x\n\n\n\n"},
		{"8-bit octets and NUL in others", "From: a@x\nX: \xff\x00\nBcc: c@x\n\n\xff\x00", "From: a@x\nX: \xff\x00\n\n\xff\x00"},
		{"fields with a name like it", "From: a@x\nX-Bcc: c@x\nTo: b@x\nBccc: d@x\nBc: d@x\n\n", "From: a@x\nX-Bcc: c@x\nTo: b@x\nBccc: d@x\nBc: d@x\n\n"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, lines := range []string{"\n", "\r\n"} {
				content, want := strings.ReplaceAll(tt.content, "\n", lines), strings.ReplaceAll(tt.want, "\n", lines)
				octets := []byte(content)
				m, err := ReadMessage(octets)
				if err != nil {
					t.Fatal(err)
				}
				m.From, m.To = "z@x", Recipients("y@x") // explicit ones change nothing
				if got := read(t, m.Body); got != want {
					t.Errorf("the body is %q, want %q", got, want)
				}
				if string(octets) != content {
					t.Errorf("the caller's octets have become %q", octets)
				}
				name := write(t, content)
				if m, err = ReadMessageFile(name); err != nil {
					t.Fatal(err)
				}
				for range 2 { // a retry sends the same
					if got := read(t, m.Body); got != want {
						t.Errorf("the body of the file is %q, want %q", got, want)
					}
				}
			}
		})
	}
}

// write makes a file.
func write(t *testing.T, content string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "message.eml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// The recipients may be known from elsewhere.
func TestReadMessage_noRecipients(t *testing.T) {
	for rule, content := range map[string]string{
		"42 no field":                   "From: a@x\nSubject: hi\n\n",
		"42 an empty group":             "From: a@x\nTo: undisclosed-recipients:;\n\n",
		"43 a block without recipients": "Resent-From: a@x\nFrom: a@x\nTo: b@x\n\n",
	} {
		t.Run(rule, func(t *testing.T) {
			m, err := ReadMessage([]byte(content))
			if err != nil || m.From != "a@x" || len(m.To) != 0 {
				t.Fatalf("%+v, %v", m, err)
			}
			if err := m.Check(); err == nil || !strings.Contains(err.Error(), "no recipient") {
				t.Error(err)
			}
			m.To = Recipients("c@x")
			if err := m.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReadMessage_errors(t *testing.T) {
	for _, tt := range []struct{ rule, content, want string }{
		{"42 neither Sender nor From", "To: b@x\n\n", "neither Sender nor From"},
		{"42 an empty Sender does not fall back to From", "Sender:\nFrom: a@x\nTo: b@x\n\n", "Sender, line 1"},
		{"42 an empty From", "To: b@x\nFrom: (nobody)\n\n", "From, line 2"},
		{"42 an empty message", "", "neither Sender nor From"},
		{"42 a message without a header", "\nFrom: a@x\nTo: b@x\n", "neither Sender nor From"},
		{"42 a To that cannot be read", "From: a@x\nTo: b@x,\n c d\n\n", "To, line 2"},
		{"42 a Bcc that cannot be read", "From: a@x\nTo: b@x\nBcc: c\n\n", "Bcc, line 3"},
		{"35 words instead of an address", "From: a b c\nTo: b@x\n\n", "From, line 1"},
		{"35 a comment without an end", "From: a@x\nTo: (b@x, c@x\n\n", "To, line 2"},
		{"42 an 8-bit name that is not UTF-8", "From: J\xfcrgen <a@x>\nTo: b@x\n\n", "not UTF-8"},

		{"43 two Resent-Date", "Resent-Date: x\nResent-From: a@x\nResent-To: b@x\nResent-Date: y\nFrom: a@x\nTo: b@x\n\n", "Resent-Date, line 4"},
		{"43 two blocks without dates", "Resent-From: a@x\nResent-To: b@x\nResent-From: c@x\nResent-To: d@x\nFrom: a@x\nTo: b@x\n\n", "Resent-From, line 3"},
		{"43 a block without a sender", "Resent-To: b@x\nFrom: a@x\nTo: b@x\n\n", "neither Resent-Sender nor Resent-From"},

		{"a line without a colon", "From: a@x\nTo: b@x\nhello\n\n", "line 3"},
		{"a line without a name", "From: a@x\nTo: b@x\n: hello\n\n", "line 3"},
		{"a name with a space in it", "From: a@x\nTo: b@x\nB cc: c@x\n\n", "line 3"},
		{"44 a name with NUL in it", "From: a@x\nTo: b@x\nBcc\x00: c@x\n\n", "line 3"},
		{"44 a name that only looks like Bcc", "From: a@x\nTo: b@x\nB\u0441c: c@x\n\n", "line 3"},
		{"44 a name behind a byte order mark", "\ufeffBcc: c@x\nFrom: a@x\n\n", "line 1"},
		{"a header that begins with a continuation", " Bcc: c@x\nFrom: a@x\nTo: b@x\n\n", "line 1"},
		{"44 Bcc behind a bare CR", "From: a@x\nTo: b@x\nSubject: hi\rBcc: c@x\n\n", "line 3"},
		{"44 Bcc behind CR CR LF", "From: a@x\r\nTo: b@x\r\r\nBcc: c@x\r\n\r\n", "line 2"},
		{"44 a bare CR within Bcc", "From: a@x\nBcc: c@x\r d@x\n\n", "line 2"},
		{"the first line of an mbox file", "From me Mon Apr  1 10:00:00 2024\nFrom: a@x\nTo: b@x\n\n", "mbox"},

		{"F15 an address with NUL", "From: a@x\nTo: b\x00@x\n\n", "To, line 2"},
		{"F15 an address with a tab", "From: a@x\nTo: \"b\tc\"@x\n\n", "control character 0x09"},
		{"F18 an address that is too long", "From: a@x\nTo: b@" + strings.Repeat("x", 300) + "\n\n", "longer than"},
		{"F18 an address without a domain", "From: a@x\nTo: postmaster\n\n", "To, line 2"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m, err := ReadMessage([]byte(tt.content))
			_, fileErr := ReadMessageFile(write(t, tt.content))
			for _, err := range []error{err, fileErr} {
				e, ok := errors.AsType[*Error](err)
				if !ok || e.Stage != StagePolicy || e.Class != Local || !strings.Contains(e.Error(), tt.want) || m != nil {
					t.Fatalf("got %v, %v, want a local error of the stage policy with %q", m, err, tt.want)
				}
				if strings.ContainsFunc(e.Error(), unicode.IsControl) {
					t.Errorf("the error has a control character: %q", e)
				}
			}
		})
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, seed := range []string{
		"", "From: a@x\nTo: b@x\n\ntext\n", "From: a@x\r\nBcc: c@x,\r\n d@x\r\n\r\n", "Resent-From: a@x\nResent-Bcc: b@x\nBcc : c@x\n\n",
		"From: \"a> b\"@x\nTo: T: b@x, (c) \"d@e\"@[192.0.2.1];\n\n", "From: a@x\nTo: b@x\nX: 1\rBcc: c@x\n\n", "From: =?utf-8?q?=C3=BC?= <ü@x>\nTo: ü@ü\n",
		"From: a@x\n \nBcc: b@x\n\t\n\nBcc: y\n", "From me\nFrom: a@x\n", "From: a@x\nTo: b@x\r\r\n\n", "From: a@x\nTo: b\x00@x, \"\\\"\"@x\n", "Bcc: a@x\nFrom: b@x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		before := bytes.Clone(content)
		m, err := ReadMessage(content)
		if !bytes.Equal(content, before) {
			t.Fatal("the caller's octets have changed")
		}
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Stage != StagePolicy || e.Class != Local || strings.ContainsFunc(e.Error(), unicode.IsControl) {
				t.Errorf("error %q", err)
			}
			return
		}
		whole := *m
		if len(m.To) == 0 { // they may be known from elsewhere
			whole.To = Recipients("b@x")
		}
		if err := whole.Check(); err != nil {
			t.Errorf("the message is unfit: %v", err)
		}
		seen := map[string]bool{}
		for _, a := range append(Recipients(m.From), m.To...) {
			if _, err := checkPath(a.Address); err != nil {
				t.Error(err)
			}
			if read, err := mailPath("MAIL FROM:<" + a.Address + ">"); read != a.Address || err != nil {
				t.Errorf("%q is read as %q, %v", a.Address, read, err)
			}
		}
		for _, r := range m.To {
			if seen[r.Address] {
				t.Errorf("%q is there twice", r.Address)
			}
			seen[r.Address] = true
		}
		// What a server gets, as the most lenient one reads it.
		wire := read(t, Canonical(m.Body))
		for line := range strings.Lines(wire) {
			if line == "\r\n" {
				break
			}
			name, _, _ := strings.Cut(line, ":")
			if name = strings.ToLower(strings.TrimFunc(name, func(r rune) bool { return r <= ' ' })); line[0] > ' ' && (name == "bcc" || name == "resent-bcc") {
				t.Errorf("Bcc leaves: %q", wire)
			}
		}
		// All that is missing is Bcc: what is left is the content in its order.
		rest := before
		for line := range bytes.Lines([]byte(read(t, m.Body))) {
			at := bytes.Index(rest, line)
			if at < 0 {
				t.Fatalf("%q is not of the content", line)
			}
			rest = rest[at+len(line):]
		}
	})
}

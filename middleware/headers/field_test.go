package headers_test

import (
	"mime"
	"net/mail"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/headers"
)

// rendered returns the lines of a field.
func rendered(t *testing.T, f headers.Field) (string, error) {
	t.Helper()
	i, err := headers.New(headers.Config{LeaveDate: true, LeaveMessageID: true, LeaveBcc: true, Add: []headers.Field{f}})
	if err != nil {
		return "", err
	}
	b, err := edit(t, i, core.String("\r\n"))
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(read(t, b), "\r\n"), nil
}

func TestValuesAreFoldedAndEncoded(t *testing.T) {
	words := strings.Repeat("word ", 30)
	long := strings.Repeat("x", 997)
	for _, tt := range []struct{ rule, name, value, want string }{
		{"a short value", "X-A", "one two", "X-A: one two\r\n"},
		{"white space around it goes", "X-A", " \tone ", "X-A: one\r\n"},
		{"white space in it stays", "X-A", "one \t two", "X-A: one \t two\r\n"},
		{"RFC 5322 §2.2.3: a long one is folded in front of white space", "X-A", words,
			"X-A: " + strings.Repeat("word ", 14)[:69] + "\r\n " + strings.Repeat("word ", 15)[:74] + "\r\n word\r\n"},
		{"a word that fits into no line of 78 stays with the name", "X-A", strings.Repeat("x", 90), "X-A: " + strings.Repeat("x", 90) + "\r\n"},
		{"RFC 5322 §2.1.1: a line has 998 octets at most", "X-A", "a " + long, "X-A: a\r\n " + long + "\r\n"},
		{"RFC 2047: a value that is not ASCII", "Subject", "Grüße", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"},
		{"RFC 2047 §5 (3): names of addresses, and not the addresses", "Reply-To", `Jörg <j@b.example>, "Doe, J." <k@b.example>`,
			"Reply-To: =?utf-8?q?J=C3=B6rg?= <j@b.example>, \"Doe, J.\" <k@b.example>\r\n"},
		{"an address list that is ASCII stays as it is", "Reply-To", "J. D. <j@b.example> (home)", "Reply-To: J. D. <j@b.example> (home)\r\n"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for _, f := range []headers.Field{{Name: tt.name, Value: tt.value}, {Name: tt.name, Func: func(*core.Message) string { return tt.value }}} {
				if got, err := rendered(t, f); err != nil || got != tt.want {
					t.Errorf("got  %q, %v\nwant %q", got, err, tt.want)
				}
			}
		})
	}
}

// RFC 2047 §2: an encoded word has 75 octets at most, a line with one 76.
func TestLongValuesAreEncodedInLinesOf76Octets(t *testing.T) {
	value := strings.Repeat("Grüße an alle, die das lesen. ", 20)
	got, err := rendered(t, headers.Field{Name: "Subject", Value: value})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > 76 {
			t.Errorf("the line %q has %d octets", line, len(line))
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(got + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if want := strings.TrimSpace(value); err != nil || back != want {
		t.Errorf("reads as %q, %v\nwant     %q", back, err, want)
	}
}

func TestAFoldedValueReadsAsItWas(t *testing.T) {
	value := strings.TrimSpace(strings.Repeat("some  more\twords of a text, ", 20))
	got, err := rendered(t, headers.Field{Name: "X-A", Value: value})
	if err != nil {
		t.Fatal(err)
	}
	if back := strings.ReplaceAll(got, "\r\n", ""); back != "X-A: "+value {
		t.Errorf("got %q", got)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(got, "\r\n"), "\r\n") {
		if strings.TrimSpace(line) == "" || len(line) > 78 {
			t.Errorf("line %q", line)
		}
	}
}

func TestValuesThatCannotBeSent(t *testing.T) {
	for _, tt := range []struct{ rule, name, value, says string }{
		{"CRLF", "X-A", "a\r\nBcc: b@c.example", "control character"},
		{"CR", "X-A", "a\rb", "control character"},
		{"LF", "X-A", "a\n b", "control character"},
		{"LF at the end", "X-A", "a\n", "control character"},
		{"NUL", "X-A", "a\x00b", "control character"},
		{"escape", "X-A", "\x1b[31m", "control character"},
		{"delete", "X-A", "\x7f", "control character"},
		{"another charset", "X-A", "Gr\xfc\xdfe", "not UTF-8"},
		{"RFC 5322 §2.1.1: a word that no line can hold", "X-A", strings.Repeat("x", 998), "no line can hold it"},
		{"addresses that are none", "Reply-To", "Jörg", "Name <local@domain>"},
		{"an address that is not ASCII", "Reply-To", "jörg@b.example", "not ASCII"},
		{"a field without encoded words", "Content-Type", `text/plain; name="Grüße"`, "encoded words cannot stand in this field"},
		{"a list's id", "List-Id", "Größe <a.example>", "encoded words cannot stand in this field"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := headers.New(headers.Config{Add: []headers.Field{{Name: tt.name, Value: tt.value}}})
			if e, ok := err.(*core.Error); !ok || e.Stage != core.StageConfig {
				t.Errorf("a Value: got %v, want an error of the configuration", err)
			}
			wantLocal(t, err, tt.says)

			got, err := deliver(t, headers.Config{Set: []headers.Field{{Name: tt.name, Func: func(*core.Message) string { return tt.value }}}}, core.String("A: b\r\n\r\n"))
			if got != "" {
				t.Errorf("a Func: delivered %q", got)
			}
			wantLocal(t, err, tt.says)
		})
	}
}

func TestNew_refusesWhatCannotBe(t *testing.T) {
	one := func(f headers.Field) headers.Config { return headers.Config{Set: []headers.Field{f}} }
	f := func(*core.Message) string { return "x" }
	for says, config := range map[string]headers.Config{
		`Config.Set: "" is no name`:             one(headers.Field{Value: "x"}),
		`"X A" is no name`:                      one(headers.Field{Name: "X A", Value: "x"}),
		`"X:" is no name`:                       one(headers.Field{Name: "X:", Value: "x"}),
		`"X\r\nBcc" is no name`:                 one(headers.Field{Name: "X\r\nBcc", Value: "x"}),
		`"Größe" is no name`:                    one(headers.Field{Name: "Größe", Value: "x"}),
		"X-A has neither a Value nor a Func":    one(headers.Field{Name: "X-A"}),
		"X-B has neither a Value nor a Func":    one(headers.Field{Name: "X-B", Value: " \t"}),
		"X-A has a Value and a Func":            one(headers.Field{Name: "X-A", Value: "x", Func: f}),
		`Config.Remove has "X A"`:               {Remove: []string{"X A"}},
		"Config.Set has x-a, which is in Confi": {Set: []headers.Field{{Name: "X-A", Value: "x"}, {Name: "x-a", Value: "y"}}},
		"Config.Set has x-b, which is in Confi": {Set: []headers.Field{{Name: "x-b", Value: "x"}}, Remove: []string{"X-B"}},
		"Config.Add has x-c, which is in Confi": {Add: []headers.Field{{Name: "x-c", Value: "x"}}, Set: []headers.Field{{Name: "X-C", Value: "x"}}},
		"Config.Add has bcc, which is removed":  {Add: []headers.Field{{Name: "bcc", Value: "a@b.example"}}},
		`Config.Domain "a b"`:                   {Domain: "a b"},
		`Config.Domain "a..b"`:                  {Domain: "a..b"},
		`Config.Domain "a@b"`:                   {Domain: "a@b"},
		`Config.Domain "[a"`:                    {Domain: "[a"},
		`Config.Domain "[a]b]"`:                 {Domain: "[a]b]"},
		`Config.Domain "[a\r\n]"`:               {Domain: "[a\r\n]"},
		`Config.Domain "xx`:                     {Domain: strings.Repeat("x", 256)},
	} {
		_, err := headers.New(config)
		if e, ok := err.(*core.Error); !ok || e.Stage != core.StageConfig {
			t.Errorf("got %v, want an error of the configuration", err)
		}
		wantLocal(t, err, says)
	}
	if _, err := headers.New(headers.Config{LeaveBcc: true, Set: []headers.Field{{Name: "Bcc", Value: "a@b.example"}}}); err != nil {
		t.Errorf("a Bcc that is to stay cannot be set: %v", err)
	}
}

// FuzzField: whatever a value is, it makes one field and nothing else.
func FuzzField(f *testing.F) {
	for _, s := range []string{"x", "a\r\nb", "Grüße " + strings.Repeat("ü", 100), strings.Repeat("w ", 600), "\xff", " \t "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := rendered(t, headers.Field{Name: "X-A", Func: func(*core.Message) string { return value }})
		if err != nil || got == "" {
			return
		}
		if !strings.HasPrefix(got, "X-A:") || !strings.HasSuffix(got, "\r\n") {
			t.Fatalf("%q became %q", value, got)
		}
		for i, line := range strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n") {
			switch {
			case len(line) > 998, strings.ContainsAny(line, "\r\n\x00"):
				t.Errorf("%q became %q", value, got)
			case i > 0 && (strings.TrimLeft(line, " \t") == "" || line[0] != ' ' && line[0] != '\t'):
				t.Errorf("%q became %q", value, got)
			}
		}
		m, err := mail.ReadMessage(strings.NewReader(got + "\r\n"))
		if err != nil || len(m.Header) != 1 {
			t.Fatalf("%q became %q: %v", value, got, err)
		}
	})
}

package core

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// announce is the text of a reply to EHLO with these lines.
func announce(lines ...string) string {
	return strings.Join(append([]string{"mx.example hello"}, lines...), "\n")
}

func TestParseExtensions(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		lines []string
		want  string // "KEYWORD param;" each
	}{
		{"the first line is the server's name, not a keyword (RFC 5321 §4.1.1.1)", nil, ""},
		{"keywords keep the server's order", []string{"SIZE 1000", "8BITMIME", "AUTH PLAIN"}, "SIZE 1000;8BITMIME ;AUTH PLAIN;"},
		{"C4 keywords of any case are the same (RFC 5321 §4.1.1.1)", []string{"pipelining", "StartTLS"}, "PIPELINING ;STARTTLS ;"},
		{"C4 the case of a parameter is kept", []string{"x-token aBc"}, "X-TOKEN aBc;"},
		{"C4 spaces and tabs around are left out", []string{"  SIZE \t 1000\t ", "8BITMIME   "}, "SIZE 1000;8BITMIME ;"},
		{"C4 spaces and tabs between parameters become one space", []string{"LIMITS  RCPTMAX=10\tMAILMAX=5"}, "LIMITS RCPTMAX=10 MAILMAX=5;"},
		{"C4 empty lines announce nothing", []string{"", " ", "\t", "HELP"}, "HELP ;"},
		{"C4 a repeated keyword keeps its place and its last text", []string{"SIZE 1", "HELP", "size 2"}, "SIZE 2;HELP ;"},
		{"C4 two lines of AUTH are one", []string{"AUTH PLAIN LOGIN", "HELP", "AUTH LOGIN CRAM-MD5"}, "AUTH PLAIN LOGIN CRAM-MD5;HELP ;"},
		{"C4 the old form of AUTH is AUTH", []string{"AUTH=PLAIN LOGIN"}, "AUTH PLAIN LOGIN;"},
		{"C4 both forms of AUTH are one", []string{"auth login", "Auth=Login plain"}, "AUTH login plain;"},
		{"C4 an old form without a mechanism", []string{"AUTH="}, "AUTH ;"},
		{"AUTH alone has no mechanism (RFC 4954 §3)", []string{"AUTH"}, "AUTH ;"},
		{"an = is not taken apart in another keyword", []string{"X=Y z"}, "X=Y z;"},
		{"a private keyword may have any ASCII form", []string{"X_FOO bar", "XXXXXXXA"}, "X_FOO bar;XXXXXXXA ;"},
		{"what is not ASCII is no keyword, whatever its upper case (RFC 5321 §4.1.1.1)", []string{"\u017fize 1", "CHUN\u212aING", "S\u0131ZE", "\xff", "HELP"}, "HELP ;"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			e, _ := parseExtensions(announce(tt.lines...))
			var got strings.Builder
			for keyword, param := range e.All() {
				fmt.Fprintf(&got, "%s %s;", keyword, param)
			}
			if got.String() != tt.want {
				t.Errorf("got %q, want %q", got.String(), tt.want)
			}
		})
	}
}

func TestParseExtensions_domain(t *testing.T) {
	for _, tt := range []struct{ rule, text, want string }{
		{"the domain is the first word (RFC 5321 §4.1.1.1)", "mx.example at your service\nSIZE", "mx.example"},
		{"the domain may be all there is", "mx.example", "mx.example"},
		{"the domain may be ended by a tab", "mx.example\tready\nSIZE", "mx.example"},
		{"the domain may be missing", "\nSIZE", ""},
		{"the reply may be empty", "", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if _, got := parseExtensions(tt.text); got != tt.want {
				t.Errorf("domain %q, want %q", got, tt.want)
			}
		})
	}
}

func TestExtensions_keywordsCompareWithoutRegardToCase(t *testing.T) {
	e, _ := parseExtensions(announce("8bitMIME", "Size 1000"))
	for _, keyword := range []string{"SIZE", "size", "Size"} {
		if param, ok := e.Param(keyword); param != "1000" || !ok || !e.Has(keyword) {
			t.Errorf("Param(%q) = %q, %t", keyword, param, ok)
		}
	}
	if param, ok := e.Param("8BITMIME"); param != "" || !ok {
		t.Errorf("a keyword without text: Param is %q, %t", param, ok)
	}
	for _, keyword := range []string{"", "SIZ", "SIZE ", "SIZE 1000", "mx.example"} {
		if e.Has(keyword) {
			t.Errorf("Has(%q) is true", keyword)
		}
	}
	if !e.size || !e.eightBitMIME || e.pipelining || e.starttls {
		t.Errorf("what is looked up once is %+v", e)
	}
}

func TestExtensions_zeroValueHasNone(t *testing.T) {
	var e Extensions
	if e.Has("SIZE") || len(e.Mechanisms()) > 0 {
		t.Error("the zero value announces something")
	}
	if n, ok := e.SizeLimit(); n != 0 || ok {
		t.Errorf("SizeLimit = %d, %t", n, ok)
	}
	for keyword := range e.All() {
		t.Errorf("All yields %q", keyword)
	}
}

func TestExtensions_SizeLimit_C5(t *testing.T) {
	for _, tt := range []struct {
		rule, line string
		want       int64 // zero: no limit
	}{
		{"SIZE names the limit (RFC 1870 §3)", "SIZE 1000", 1000},
		{"no SIZE is no limit", "HELP", 0},
		{"SIZE alone is no limit (RFC 1870 §3)", "SIZE", 0},
		{"zero is no limit (RFC 1870 §3)", "SIZE 0", 0},
		{"leading zeros do not count", "SIZE 00042", 42},
		{"the largest number", "SIZE 9223372036854775807", math.MaxInt64},
		{"a number that does not fit is unknown", "SIZE 9223372036854775808", 0},
		{"20 digits, which RFC 1870 §3 allows, are unknown", "SIZE 99999999999999999999", 0},
		{"a negative number is none", "SIZE -1", 0},
		{"a sign is not a digit", "SIZE +1", 0},
		{"text is none", "SIZE unlimited", 0},
		{"hexadecimal is none", "SIZE 0x10", 0},
		{"a number with more behind it is none", "SIZE 10 MB", 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			e, _ := parseExtensions(announce(tt.line))
			if n, ok := e.SizeLimit(); n != tt.want || ok != (tt.want > 0) {
				t.Errorf("SizeLimit = %d, %t, want %d", n, ok, tt.want)
			}
		})
	}
}

func TestExtensions_Mechanisms(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		lines []string
		want  []string
	}{
		{"the server's order is kept (RFC 4954 §3)", []string{"AUTH SCRAM-SHA-256 PLAIN LOGIN"}, []string{"SCRAM-SHA-256", "PLAIN", "LOGIN"}},
		{"names are in upper case", []string{"AUTH plain Login"}, []string{"PLAIN", "LOGIN"}},
		{"each is named once", []string{"AUTH PLAIN", "AUTH=plain LOGIN"}, []string{"PLAIN", "LOGIN"}},
		{"each is named once on one line too", []string{"AUTH PLAIN LOGIN plain"}, []string{"PLAIN", "LOGIN"}},
		{"AUTH without one", []string{"AUTH"}, nil},
		{"no AUTH", []string{"HELP"}, nil},
		{"what is not ASCII is no name, whatever its upper case (RFC 4422 §3.1)", []string{"AUTH PLA\u0131N LOGIN"}, []string{"LOGIN"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			e, _ := parseExtensions(announce(tt.lines...))
			if got := e.Mechanisms(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestExtensions_AllCanBeLeftEarly(t *testing.T) {
	e, _ := parseExtensions(announce("A", "B", "C"))
	var got []string
	for keyword := range e.All() {
		if got = append(got, keyword); keyword == "B" {
			break
		}
	}
	if !slices.Equal(got, []string{"A", "B"}) {
		t.Errorf("got %q", got)
	}
}

func TestExtensions_lookingUpAllocatesNothing(t *testing.T) {
	e, _ := parseExtensions(announce("SIZE 1000", "8BITMIME", "PIPELINING"))
	if n := testing.AllocsPerRun(100, func() { _ = e.Has("pipelining") && !e.Has("DSN") }); n != 0 {
		t.Errorf("Has allocates %v times", n)
	}
}

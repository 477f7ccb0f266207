package core

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"unicode"
)

// octets returns an address that is n octets long.
func octets(n int) string {
	const domain = "@example.com"
	return strings.Repeat("x", n-len(domain)) + domain
}

func TestCheckPath_accepts(t *testing.T) {
	for _, tt := range []struct {
		rule, path string
		utf8       bool
	}{
		{"a mailbox (RFC 5321 §4.1.2)", "a@example.com", false},
		{"all of atext in the local part (RFC 5321 §4.1.2)", "!#$%&'*+-/=?^_`{|}~09azAZ@example.com", false},
		{"a domain of one label", "a@localhost", false},
		{"a domain that begins with digits", "a@1and1.example", false},
		{"an A-label", "a@xn--bcher-kva.example", false},
		{"an underscore in the domain, which the DNS has and RFC 5321 §4.1.2 forbids", "a@_x.example.com", false},
		{"dots in any number, which RFC 5321 §4.1.2 forbids and servers take", ".a..b.@example.com", false},

		{"F16 a quoted local part that holds @ (RFC 5321 §4.1.2)", `"a@b"@example.com`, false},
		{"F16 a quoted local part that holds a space", `"a@evil x"@example.com`, false},
		{"F16 a quoted local part that holds a parameter", `"a> SIZE=1 <b"@example.com`, false},
		{"trap 3: a quoted local part that holds a command", `"a> RCPT TO:<evil@example.net"@example.com`, false},
		{"a quoted-pair of a quote", `"a\"b"@example.com`, false},
		{"a quoted-pair of a backslash", `"a\\"@example.com`, false},
		{"a quoted local part that is empty", `""@example.com`, false},

		{"F18 an IPv4 address literal (RFC 5321 §4.1.3)", "a@[192.0.2.1]", false},
		{"F18 an IPv6 address literal (RFC 5321 §4.1.3)", "a@[IPv6:2001:db8::1]", false},
		{"F18 an address literal of another kind (RFC 5321 §4.1.3)", "a@[X-tag:!~]", false},
		{"F18 postmaster without a domain (RFC 5321 §4.1.1.3)", "postmaster", false},
		{"F18 Postmaster in any case (RFC 5321 §4.1.1.3)", "PostMaster", false},
		{"F18 a local part of 64 octets (RFC 5321 §4.5.3.1.1)", strings.Repeat("x", 64) + "@example.com", false},
		{"F18 a local part of 65 octets, which servers take", strings.Repeat("x", 65) + "@example.com", false},
		{"F18 254 octets, which with the angle brackets is 256 (RFC 5321 §4.5.3.1.3)", octets(254), false},

		{"a local part in UTF-8 (RFC 6531 §3.3)", "bücher@example.com", true},
		{"a domain in UTF-8 (RFC 6531 §3.3)", "a@bücher.example", true},
		{"a quoted local part in UTF-8 (RFC 6531 §3.3)", `"bü cher"@example.com`, true},
		{"F15 characters that are CR and LF once cut to eight bits stay whole", "a\u760d\u760aRCPT@example.com", true},
		{"F15 the same in the domain", "a@example\u760d\u760a.com", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if utf8, err := checkPath(tt.path); err != nil || utf8 != tt.utf8 {
				t.Errorf("checkPath(%q) = %t, %v, want %t, nil", tt.path, utf8, err, tt.utf8)
			}
		})
	}
}

func TestCheckPath_refuses(t *testing.T) {
	for _, tt := range []struct{ rule, path, want string }{
		{"nothing", "", "empty"},
		{"no domain", "a", "has no domain"},
		{"an empty domain", "a@", "has no domain"},
		{"no local part", "@example.com", "has no local part"},
		{"a domain literal for postmaster", "postmaster@", "has no domain"},
		{"a quoted postmaster without a domain", `"postmaster"`, "has no domain"},
		{"what only looks like postmaster without a domain", "po\u017ftmaster", "has no domain"},
		{"a second @", "a@b@example.com", "'@' is not allowed"},
		{"a source route (RFC 5321 §4.1.1.3: SHOULD NOT be generated)", "@a.example,@b.example:c@example.com", "has no local part"},

		{"F15 a parameter behind the path", "a@b> SIZE=1", "'>' is not allowed"},
		{"F15 a command behind the path", "a@b>\r\nRCPT TO:<evil@example.net", "0x0d"},
		{"F15 a closing bracket", "a@b>", "'>' is not allowed"},
		{"angle brackets of its own", "<a@example.com>", "'<' must be quoted"},
		{"the null path in brackets", "<>", "'<' must be quoted"},
		{"a space in front", " a@example.com", "' ' must be quoted"},
		{"a space behind", "a@example.com ", "' ' is not allowed"},
		{"a list", "a@example.com,b@example.com", "',' is not allowed"},
		{"a comment", "a@example.com(Bob)", "'(' is not allowed"},

		{"F15 a quote that is not closed", `"a@example.com`, "unclosed"},
		{"F15 a quote that is not closed because it is quoted", `"a\"@example.com`, "unclosed"},
		{"a quote alone", `"`, "unclosed"},
		{"a backslash at the end", `"a\`, "unclosed"},
		{"something behind the closing quote", `"a"b@example.com`, "between"},
		{"a space behind the closing quote", `"a" @example.com`, "between"},
		{"a quote in the middle of a local part", `a"b"@example.com`, `'"' must be quoted`},

		{"F18 a trailing dot", "a@example.com.", "'.' is not allowed"},
		{"a leading dot in the domain", "a@.example.com", "'.' is not allowed"},
		{"an empty label", "a@example..com", "'.' is not allowed"},
		{"a domain that is a dot", "a@.", "'.' is not allowed"},

		{"F18 an address literal that is not closed", "a@[192.0.2.1", "address literal"},
		{"an address literal that is empty", "a@[]", "address literal"},
		{"an address literal with something behind it", "a@[192.0.2.1]x", "address literal"},
		{"an address literal that holds a bracket", "a@[1]2]", "address literal"},
		{"an address literal that holds >", "a@[1> SIZE=1]", "address literal"},
		{"an address literal that holds a backslash", `a@[1\]`, "address literal"},
		{"an address literal that is not ASCII (RFC 5321 §4.1.3)", "a@[\u0661]", "address literal"},

		{"F15 an octet that is not UTF-8", "a\xff@example.com", "not valid UTF-8"},
		{"F15 the same in the domain", "a@example\x80.com", "not valid UTF-8"},
		{"F15 a CR in two octets", "a\xc0\x8d@example.com", "not valid UTF-8"},
		{"a surrogate", "a\xed\xa0\x80@example.com", "not valid UTF-8"},

		{"F18 255 octets (RFC 5321 §4.5.3.1.3)", octets(255), "longer than 254"},
		{"F18 a domain that is too long", "a@" + strings.Repeat("x", 255), "longer than 254"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := checkPath(tt.path)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("checkPath(%q) = %v, want an error with %q", tt.path, err, tt.want)
			}
			if i := strings.IndexFunc(err.Error(), unicode.IsControl); i >= 0 {
				t.Errorf("the error has a control character: %q", err)
			}
		})
	}
}

func TestCheckPath_theErrorIsShortWhateverWasGiven(t *testing.T) {
	for _, path := range []string{octets(1 << 20), strings.Repeat("\x00", 1<<20), strings.Repeat("\xff", 1<<20)} {
		if _, err := checkPath(path); err == nil || len(err.Error()) > 2000 {
			t.Errorf("the error about %d octets has %d", len(path), len(err.Error()))
		}
	}
}

// RFC 5321 §4.1.2: control characters have no place in a path, quoted or not.
func TestCheckPath_refusesEveryControlCharacterEverywhere_F15(t *testing.T) {
	controls := []byte{0x7f}
	for c := range byte(' ') {
		controls = append(controls, c)
	}
	for _, c := range controls {
		for _, form := range []string{
			"%sa@example.com", "a%sb@example.com", "a%s@example.com", "a@%sexample.com", "a@exam%sple.com", "a@example.com%s",
			`"a%sb"@example.com`, `"a\%sb"@example.com`, "a@[IPv6:%s]", "postmaster%s", "bü%scher@example.com",
		} {
			path := fmt.Sprintf(form, string(rune(c)))
			if _, err := checkPath(path); err == nil {
				t.Errorf("%q is accepted", path)
			}
		}
	}
}

func TestCheckPath_refusesWhatMustBeQuoted(t *testing.T) {
	for _, c := range ` "(),:;<>[\]` {
		path := "a" + string(c) + "b@example.com"
		if _, err := checkPath(path); err == nil {
			t.Errorf("%q is accepted", path)
		}
		if c == '"' || c == '\\' {
			continue
		}
		path = `"a` + string(c) + `b"@example.com`
		if _, err := checkPath(path); err != nil {
			t.Errorf("%q is refused: %v", path, err)
		}
	}
}

// Who passes what a person typed is told how to get at the address in it.
func TestCheckPath_aDisplayNameGetsAHint(t *testing.T) {
	for _, path := range []string{
		"Bob <bob@example.com>",
		"Bob Builder <bob@example.com>",
		"Bob<bob@example.com>",
		`"Bob" <bob@example.com>`,
		`"Bob Builder" <bob@example.com>`,
		"<bob@example.com>",
	} {
		if _, err := checkPath(path); err == nil || !strings.Contains(err.Error(), "net/mail") {
			t.Errorf("checkPath(%q) = %v, want an error that names net/mail", path, err)
		}
	}
}

func TestCheckPath_allocatesNothingForAnASCIIAddress(t *testing.T) {
	for _, path := range []string{"someone@mail.example.com", `"some one"@example.com`, "a@[192.0.2.1]", "Postmaster"} {
		n := testing.AllocsPerRun(100, func() {
			if _, err := checkPath(path); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("checkPath(%q) allocates %v times", path, n)
		}
	}
}

// at is a connection whose own end has an address.
type at struct {
	net.Conn
	addr net.Addr
}

func (c at) LocalAddr() net.Addr { return c.addr }

// RFC 5321 §4.1.4: a client without a name of its own says EHLO with an address
// literal.
func TestHelloName(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1, Zone: "eth0"} }
	for _, tt := range []struct {
		rule, name string
		addr       net.Addr
		want       string
	}{
		{"a configured name goes before all", "client.example", tcp("192.0.2.1"), "client.example"},
		{"an IPv4 address", "", tcp("192.0.2.1"), "[192.0.2.1]"},
		{"an IPv6 address has its tag and no zone (RFC 5321 §4.1.3)", "", tcp("fe80::1"), "[IPv6:fe80::1]"},
		{"an IPv4 address in IPv6's form is an IPv4 address", "", tcp("::ffff:192.0.2.1"), "[192.0.2.1]"},
		{"a stream without an address is on this machine", "", &net.UnixAddr{Name: "@"}, "localhost"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got := (&settings{Config: Config{LocalName: tt.name}}).helloName(at{addr: tt.addr})
			if got != tt.want || !validHelloName(got) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

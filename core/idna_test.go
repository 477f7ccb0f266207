package core

import (
	"errors"
	"strings"
	"testing"
)

func TestASCIIPath(t *testing.T) {
	for _, tt := range []struct {
		rule, addr, want string // empty: an error
	}{
		{"ASCII stays as it is, case included", "Me@Example.COM", "Me@Example.COM"},
		{"postmaster has no domain", "postmaster", "postmaster"},
		{"an address literal", "me@[192.0.2.1]", "me@[192.0.2.1]"},
		{"a U-label becomes an A-label (RFC 5890 §2.3.2.1)", "me@bücher.example", "me@xn--bcher-kva.example"},
		{"each of several", "me@пример.испытание", "me@xn--e1afmkfd.xn--80akhbyknj4f"},
		{"beside ASCII labels and A-labels", "me@www.xn--bcher-kva.bücher.example", "me@www.xn--bcher-kva.xn--bcher-kva.example"},
		{"capitals are mapped, as in a look-up (RFC 5891 §5)", "me@BÜCHER.example", "me@xn--bcher-kva.example"},
		{"a letter and an accent apart are one letter", "me@bu\u0308cher.example", "me@xn--bcher-kva.example"},
		{"an ideographic full stop separates labels", "me@例\u3002example", "me@xn--fsq.example"},
		{"right to left (RFC 5893)", "me@שלום.example", "me@xn--9dbne9b.example"},
		{"the local part stays as it is", "Me+Tag@bücher.example", "Me+Tag@xn--bcher-kva.example"},
		{"F16 a quoted local part is never split again", `"a@ü b"@bücher.example`, ""},
		{"F16 nor is one in ASCII", `"a@b> <c"@bücher.example`, `"a@b> <c"@xn--bcher-kva.example`},

		{"a local part that is not ASCII has no ASCII form", "ü@example.com", ""},
		{"F15 a character that maps to @", "me@ü\uff20example.com", ""},
		{"F15 a character that maps to >", "me@ü\uff1eexample.com", ""},
		{"F15 a character that maps to a space", "me@ü\u3000example.com", ""},
		{"F15 what narrows to CR LF is a label like another", "me@\u760d\u760a.example", "me@xn--ztyf.example"},
		{"a label that maps to nothing", "me@\u00ad.example", ""},
		{"a character that IDNA does not allow", "me@ü\ufffd.example", ""},
		{"what only looks like an A-label", "me@xn--a.ü.example", ""},
		{"an underscore beside a U-label", "me@_x.bücher.example", ""},
		{"a label longer than 63 octets in its ASCII form", "me@" + strings.Repeat("ü", 60) + ".example", ""},
		{"F18 a path that gets too long", "me@" + strings.Repeat("例.", 50) + "example", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if _, err := checkPath(tt.addr); err != nil {
				t.Fatalf("not what asciiPath is for: %v", err)
			}
			got, err := asciiPath(tt.addr)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Fatalf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	if _, err := asciiPath("ü@example.com"); !errors.Is(err, ErrNotSupported) {
		t.Errorf("the error for a local part that is not ASCII is %v", err)
	}
}

func FuzzASCIIPath(f *testing.F) {
	for _, seed := range []string{"me@bücher.example", `"a@b"@例.example`, "me@\u00ad.example", "me@a\u3002ü", "me@xn--a.ü", "postmaster", "me@שלום.example", "ü@ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		if _, err := checkPath(addr); err != nil {
			return
		}
		got, err := asciiPath(addr)
		if err != nil {
			return
		}
		if needed, err := checkPath(got); needed || err != nil {
			t.Fatalf("%q becomes %q: %v", addr, got, err)
		}
		if read, err := mailPath("MAIL FROM:<" + got + ">"); read != got || err != nil {
			t.Errorf("%q becomes %q, which is read as %q, %v", addr, got, read, err)
		}
		at := strings.LastIndexByte(addr, '@') + 1
		if got[:strings.LastIndexByte(got, '@')+1] != addr[:at] {
			t.Errorf("%q becomes %q, with another local part", addr, got)
		}
		if isASCII(addr) && got != addr {
			t.Errorf("%q becomes %q", addr, got)
		}
	})
}

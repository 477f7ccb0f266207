package core

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

// mailPath reads "MAIL FROM:<path>" as a strict server does, by the grammar of
// RFC 5321 §4.1.2 and RFC 6531 §3.3 (dots in the local part and underscores in
// the domain apart), and returns the one path that is all of it.
func mailPath(line string) (path string, err error) {
	rest, ok := strings.CutPrefix(line, "MAIL FROM:<")
	if !ok {
		return "", errors.New("no MAIL")
	}
	take := func(set func(c byte) bool) string {
		n := 0
		for n < len(rest) && set(rest[n]) {
			n++
		}
		taken := rest[:n]
		rest = rest[n:]
		path += taken
		return taken
	}
	one := func(octet byte) bool {
		first := true
		return take(func(c byte) bool { ok := first && c == octet; first = false; return ok }) != ""
	}
	letDigit := func(c byte) bool {
		return c >= utf8.RuneSelf || strings.IndexByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", c) >= 0
	}
	local := ""
	if one('"') {
		escaped, closed := false, false
		take(func(c byte) bool {
			switch {
			case closed || c < ' ' || c == 0x7f:
				return false
			case escaped:
				escaped = false
			case c == '\\':
				escaped = true
			case c == '"':
				closed = true
			}
			return true
		})
		if !closed {
			return "", errors.New("an unclosed quote")
		}
	} else {
		local = take(func(c byte) bool { return letDigit(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0 })
		if local == "" {
			return "", errors.New("no local part")
		}
	}
	switch {
	case one('@') && one('['):
		if take(func(c byte) bool { return c > ' ' && c < 0x7f && strings.IndexByte(`[\]<>`, c) < 0 }) == "" || !one(']') {
			return "", errors.New("a bad address literal")
		}
	case strings.HasSuffix(path, "@"):
		for dot := true; dot; dot = one('.') {
			if take(func(c byte) bool { return letDigit(c) || c == '-' || c == '_' }) == "" {
				return "", errors.New("an empty label")
			}
		}
	case strings.ToLower(local) != "postmaster" || len(local) != len("postmaster"):
		return "", errors.New("no domain")
	}
	if rest != ">" {
		return "", errors.New("the path is not all: " + rest)
	}
	return path, nil
}

func FuzzCheckPath(f *testing.F) {
	for _, seed := range []string{
		"a@example.com", `"a b"@example.com`, `"a> RCPT TO:<b"@example.com`, `"a\"b\\"@example.com`, "a@[IPv6:::1]", "postmaster",
		"a@b> SIZE=1", "a@b>\r\nRCPT TO:<c@d", "a\x00@b", `"a`, "bücher@bücher.example", "a\u760d\u760a@b", "a\xff@b", `""@b`, "@a:b@c", "po\u017ftmaster", `a@"b"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		utf8Needed, err := checkPath(path)
		if err != nil {
			if s := localError(StageMail, err, "").Error(); strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("the error has a control character: %q", s)
			}
			return
		}
		if strings.ContainsAny(path, "\r\n\x00") || !utf8.ValidString(path) || len(path) > maxPath || utf8Needed == isASCII(path) {
			t.Fatalf("%q is accepted, UTF-8 is %t", path, utf8Needed)
		}
		if got, err := mailPath("MAIL FROM:<" + path + ">"); got != path || err != nil {
			t.Errorf("%q is read as %q, %v", path, got, err)
		}
		quoted := path[0] == '"'
		if !quoted && strings.ContainsAny(path, " <>\"") || strings.Count(path, "@") > 1 && !quoted {
			t.Errorf("%q has what must be quoted", path)
		}
		// What is behind the quotes is plain, however the quotes are read.
		if behind := path[strings.LastIndexByte(path, '"')+1:]; quoted && (behind == "" || behind[0] != '@' || strings.ContainsAny(behind[1:], "@<> ")) {
			t.Errorf("%q goes on behind the quotes", path)
		}
	})
}

func FuzzExtensions(f *testing.F) {
	for _, seed := range []string{
		"", "mx.example hello\nSIZE 1000\n8BITMIME", "mx\nAUTH PLAIN\nAUTH=LOGIN plain\nauth x", "mx\nsize\nSIZE 99999999999999999999\nSize -1",
		"mx\n \t\n\tPIPELINING\t\n=\nAUTH=", "mx\n\u017fize\nCHUN\u212aING\n\xff\xfe", "\n\n\n", "mx\rSIZE\n\x00 \x00\nX\rY",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, domain := parseExtensions(text)
		if strings.ContainsAny(domain, " \t\n") {
			t.Errorf("domain %q", domain)
		}
		var keywords []string
		for keyword, param := range e.All() {
			if keyword == "" || keyword != strings.ToUpper(keyword) || !isASCII(keyword) {
				t.Errorf("keyword %q", keyword)
			}
			if slices.ContainsFunc(keywords, func(k string) bool { return strings.EqualFold(k, keyword) }) {
				t.Errorf("%q is there twice", keyword)
			}
			keywords = append(keywords, keyword)
			if got, ok := e.Param(strings.ToLower(keyword)); !ok || got != param {
				t.Errorf("%q is %q and found as %q, %t", keyword, param, got, ok)
			}
			if strings.ContainsAny(keyword+param, "\n") {
				t.Errorf("%q %q is more than a line", keyword, param)
			}
		}
		if n, ok := e.SizeLimit(); n < 0 || ok != (n > 0) || ok && !e.Has("SIZE") {
			t.Errorf("SizeLimit %d, %t", n, ok)
		}
		mechanisms := e.Mechanisms()
		for i, name := range mechanisms {
			if !isASCII(name) || name != strings.ToUpper(name) || slices.Contains(mechanisms[:i], name) {
				t.Errorf("mechanisms %q", mechanisms)
			}
		}
	})
}

// naive is the rule for line ends in its plainest form: CR, LF and CRLF each end
// a line (RFC 5321 §2.3.8), and the last line is ended too (RFC 5321 §4.1.1.4).
func naive(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// texts returns every text of up to length octets that matter to line ends.
func texts(length int) []string {
	all := []string{""}
	for from := 0; length > 0; length-- {
		to := len(all)
		for _, s := range all[from:to] {
			for _, c := range []string{"\r", "\n", ".", "\xe9"} {
				all = append(all, s+c)
			}
		}
		from = to
	}
	return all
}

// pieces yields what it reads in pieces of one size.
type pieces struct {
	r    io.Reader
	size int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.size)]) }

// canonical checks one content, however its source divides it and its reader
// asks for it.
func canonical(t *testing.T, text string, in, out int) {
	t.Helper()
	want := naive(text)
	for name, source := range map[string]io.Reader{
		"in pieces":                       pieces{strings.NewReader(text), in},
		"in pieces, the end with a piece": iotest.DataErrReader(pieces{strings.NewReader(text), in}),
		"cut in two":                      io.MultiReader(strings.NewReader(text[:min(in, len(text))]), strings.NewReader(text[min(in, len(text)):])),
	} {
		r, err := Canonical(Reader(source)).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(pieces{r, out})
		if string(got) != want || err != nil {
			t.Fatalf("%q %s of %d, read by %d: got %q, %v, want %q", text, name, in, out, got, err, want)
		}
	}
	form := scanForm([]byte(text))
	if form.Size != int64(len(want)) || form.Canonical != (text == want) || form.EightBit == isASCII(text) {
		t.Fatalf("%q has the form %+v", text, form)
	}
}

// RFC 5321 §2.3.8: CR and LF are sent as CRLF only.
func TestCanonical_isTheNaiveNormalisationForEverySplit_G14_G16(t *testing.T) {
	for _, text := range texts(5) {
		for in := 1; in <= max(1, len(text)); in++ {
			for _, out := range []int{1, 2, 1 << 20} {
				canonical(t, text, in, out)
			}
		}
	}
	for _, text := range []string{
		strings.Repeat("\n", 40<<10), strings.Repeat("\r", 40<<10), strings.Repeat("a\r\n", 20<<10), strings.Repeat("x", 16<<10-1) + "\r\n.",
		strings.Repeat("x", 16<<10) + "\r\n.", strings.Repeat("x", 16<<10-1) + "\n\r", strings.Repeat(".\r\r\n", 9<<10),
	} {
		for _, in := range []int{1, 16<<10 - 1, 16 << 10, 1 << 20} {
			canonical(t, text, in, 1<<20)
			canonical(t, text, in, 1000)
		}
	}
}

func TestCanonical_ofCanonicalIsTheSameBody(t *testing.T) {
	once := String("a\r\n")
	if got := Canonical(once); got != once {
		t.Errorf("got another body: %T", got)
	}
	for name, b := range map[string]Body{"String": String("a\n"), "File": File("x"), "Reader": Reader(strings.NewReader(""))} {
		once := Canonical(b)
		if twice := Canonical(once); twice != once {
			t.Errorf("%s: got another body: %T of %T", name, twice, twice.(canonicalBody).Body)
		}
	}
}

// Whatever is known of segments is what would be found by reading them.
func TestSegments_formIsThatOfTheWhole(t *testing.T) {
	for _, a := range texts(3) {
		for _, b := range texts(3) {
			got, ok := formOf(Segments(String(a), String(b)))
			if ok && got != scanForm([]byte(a+b)) {
				t.Errorf("%q and %q: %+v, want %+v", a, b, got, scanForm([]byte(a+b)))
			}
			if canonical := a == naive(a); ok != canonical {
				t.Errorf("%q and %q: known is %t, but the first being canonical is %t", a, b, ok, canonical)
			}
		}
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add("", uint16(1), uint16(1))
	f.Add("a\r\nb\n\rc\r\r\n", uint16(2), uint16(3))
	f.Add(strings.Repeat("\n", 20<<10), uint16(1000), uint16(7))
	f.Fuzz(func(t *testing.T, text string, in, out uint16) {
		canonical(t, text, int(in)+1, int(out)+1)
	})
}

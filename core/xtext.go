package core

import "strings"

// XText returns s in the encoding that values of MAIL's and RCPT's parameters
// have where a space, "=" or "+" may occur, RFC 3461 §4: the octet in two
// hexadecimal digits behind a "+". What is not ASCII is encoded octet by octet.
//
// The constructors of parameters use it where their RFC does. A private one may
// be given XText("two words"), which is "two+20words".
func XText(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !xchar(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; xchar(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'+', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// xchar reports whether xtext holds the octet as it is.
func xchar(c byte) bool { return c > ' ' && c <= '~' && c != '+' && c != '=' }

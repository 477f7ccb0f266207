package core

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

// fromXText decodes xtext by the letter of RFC 3461 §4.
func fromXText(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+3 > len(s) || strings.ToUpper(s[i:i+3]) != s[i:i+3] {
				return "", errors.New("+ is not followed by two upper case hexadecimal digits")
			}
			octet, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				return "", err
			}
			b.Write(octet)
			i += 2
		case c < '!' || c > '~' || c == '=':
			return "", errors.New("an octet that is no xchar")
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func TestXText(t *testing.T) {
	for _, tt := range []struct{ rule, text, want string }{
		{"what needs no encoding stays", "QQ314159", "QQ314159"},
		{"nothing is nothing", "", ""},
		{"all of xchar, its ends included (RFC 3461 §4)", "!\"#$%&'()*,-./09:;<>?@AZ[\\]^_`az{|}~", "!\"#$%&'()*,-./09:;<>?@AZ[\\]^_`az{|}~"},
		{"trap 24: + = and space are encoded", "a+b=c d", "a+2Bb+3Dc+20d"},
		{"the example of RFC 4954 §5", "e=mc2@example.com", "e+3Dmc2@example.com"},
		{"digits are upper case", "\xab\xcd\xef", "+AB+CD+EF"},
		{"F17 CR, LF and NUL", "\r\n\x00", "+0D+0A+00"},
		{"F17 DEL", "\x7f", "+7F"},
		{"F17 UTF-8, octet by octet", "ü", "+C3+BC"},
		{"F17 what narrows to CR LF", "\u760d\u760a", "+E7+98+8D+E7+98+8A"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := XText(tt.text); got != tt.want {
				t.Errorf("%q is encoded as %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func FuzzXText(f *testing.F) {
	for _, seed := range []string{"", "QQ314159", "a+b=c d", "+", "+2B", "\r\nRCPT TO:<x@example.com>", "bücher", "\xff\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := XText(s)
		if decoded, err := fromXText(encoded); err != nil || decoded != s {
			t.Fatalf("%q is encoded as %q, and that is %q, %v", s, encoded, decoded, err)
		}
		// A value of a parameter may hold it (RFC 5321 §4.1.2).
		if err := Parameter("", "X", encoded).check(&Extensions{}); err != nil {
			t.Errorf("%q is encoded as %q: %v", s, encoded, err)
		}
	})
}

func TestParam_misplaced_trap23(t *testing.T) {
	for _, tt := range []struct {
		param      Param
		mail, rcpt bool // where it may be
	}{
		{DeliverBy(time.Hour, OrReturn), true, false},
		{Priority(3), true, false},
		{HoldFor(time.Hour), true, false},
		{ReturnFull(), true, false},
		{RequireTLS(), true, false},
		{AuthSubmitter(""), true, false},
		{NotifyNever(), false, true},
		{OriginalRecipient("b@example.com"), false, true},
		{RequireRecipientValidSince(time.Now()), false, true},
		{Parameter("", "X-PRIVATE", "1"), true, true},
	} {
		for verb, may := range map[string]bool{"MAIL": tt.mail, "RCPT": tt.rcpt} {
			err := tt.param.misplaced(verb)
			if (err == nil) != may || err != nil && !strings.Contains(err.Error(), tt.param.Keyword()) {
				t.Errorf("%s on %s: %v", tt.param, verb, err)
			}
		}
	}
}

package mechanisms_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

func TestAnonymous(t *testing.T) {
	for _, tt := range []struct {
		rule, trace, dialogue string
		refused               bool
	}{
		{"RFC 4505 §2 a token", "sirhc", "C: AUTH ANONYMOUS c2lyaGM=\nS: 235 ok", false},
		{"RFC 4505 §2 an address", "fred@example.com", "C: AUTH ANONYMOUS ZnJlZEBleGFtcGxlLmNvbQ==\nS: 235 ok", false},
		{"E6 RFC 4505 §2 nothing", "", "C: AUTH ANONYMOUS =\nS: 235 ok", false},
		{"RFC 4505 §2 UTF-8", "żółw", "C: AUTH ANONYMOUS xbzDs8WCdw==\nS: 235 ok", false},
		{"a refusal", "sirhc", "C: AUTH ANONYMOUS c2lyaGM=\nS: 535 no", true},
		{"a challenge is not answered", "sirhc", "C: AUTH ANONYMOUS c2lyaGM=\nS: 334\nC: *\nS: 501 ok", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.Anonymous(tt.trace)
			for range 2 { // it can be used again
				if err := auth(t, m, tt.dialogue); (err != nil) != tt.refused {
					t.Error(err)
				}
			}
		})
	}
	m := mechanisms.Anonymous("sirhc")
	if !m.(core.SecretKeeper).KeepsSecret() {
		t.Error("there is no secret")
	}
	if got := fmt.Sprintf("%v %+v %#v", m, m, m); got != "ANONYMOUS ANONYMOUS ANONYMOUS" {
		t.Error(got)
	}
}

func TestAnonymous_check(t *testing.T) {
	for _, tt := range []struct {
		rule, trace string
		passes      bool
	}{
		{"RFC 4505 §2 255 characters, each of four octets", strings.Repeat("😀", 255), true},
		{"RFC 4505 §2 256 characters", strings.Repeat("x", 256), false},
		{"RFC 4505 §2 not UTF-8", "x\xff", false},
		{"RFC 4505 §2 what has an @ is an address", "not an@address@all", false},
		{"a name with an address", "Fred <fred@example.com>", false},
		{"only an @", "@", false},
		{"RFC 4505 §2 an address with a quoted local part", `"fred foo"@example.com`, true},
		{"RFC 4505 §3 spaces are allowed", "Fred Foobar, room 7", true},
		{"RFC 4505 §3 nothing is normalized", "ﬁ", true},
		{"RFC 4505 §3 table C.2.1, ASCII controls", "a\x01b", false},
		{"RFC 4505 §3 table C.2.1, line ends", "a\r\nb", false},
		{"RFC 4505 §3 table C.2.1, DEL", "a\x7f", false},
		{"RFC 4505 §3 table C.2.2, other controls", "a\u0085b", false},
		{"RFC 4505 §3 table C.3, private use", "\ue000", false},
		{"RFC 4505 §3 table C.4, no characters", "\ufdd0", false},
		{"RFC 4505 §3 table C.6, not for plain text", "\ufffd", false},
		{"RFC 4505 §3 table C.8, display", "a\u202eb", false},
		{"RFC 4505 §3 table C.9, tags", "a\U000e0041", false},
		{"RFC 4505 §3 one direction", "שלום", true},
		{"RFC 4505 §3 two directions", "שלום abc", false},
	} {
		a, _, err := mechanisms.Anonymous(tt.trace).Start(t.Context(), &core.Peer{})
		if (err == nil) != tt.passes || (a != nil) != tt.passes {
			t.Errorf("%s: %v", tt.rule, err)
		}
	}
}

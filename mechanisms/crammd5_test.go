package mechanisms_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// E10: RFC 2195 §2 has a challenge be a msg-id with a time in it. The digest does
// not depend on that, so any is answered that is not too long for a reply.
func TestCRAMMD5_oddChallenges_E10(t *testing.T) {
	m := mechanisms.CRAMMD5("u", "p")
	for rule, tt := range map[string]struct {
		dialogue string
		kind     error
	}{
		"an empty one is answered":             {"S: 334\nC: dSA4NDdiMjNjZjlhZjQzYWM1NjU1NmViMDllYWM1ODZhNQ==\nS: 235 ok", nil},
		"one without brackets is answered":     {"S: 334 aGVsbG8=\nC: dSAyZDQ2N2I0NDE1ODI5OTY3NDNjNmVmMjkyMTRhZDg0MQ==\nS: 235 ok", nil},
		"one of a megabyte ends the session":   {"S: 334 " + strings.Repeat("QUFB", 1<<18) + "\nHANG", core.ErrProtocol},
		"one that is no base64 is cancelled":   {"S: 334 <1@x>\nC: *\nS: 501 ok", core.ErrProtocol},
		"a second one is cancelled":            {"S: 334\nC: dSA4NDdiMjNjZjlhZjQzYWM1NjU1NmViMDllYWM1ODZhNQ==\nS: 334\nC: *\nS: 501 ok", errAny},
		"success without one ends the session": {"S: 235 ok\nHANG", errAny},
	} {
		t.Run(rule, func(t *testing.T) {
			err := auth(t, m, "C: AUTH CRAM-MD5\n"+tt.dialogue)
			switch {
			case tt.kind == nil && err != nil, tt.kind != nil && err == nil:
				t.Errorf("got %v", err)
			case tt.kind != nil && tt.kind != errAny && !errors.Is(err, tt.kind):
				t.Errorf("got %v, want %v", err, tt.kind)
			}
		})
	}
}

var errAny = errors.New("any error")

package mechanisms

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"

	"github.com/postrider/postrider/core"
)

// maxTrace is how many characters a trace may have: RFC 4505 §2, token.
const maxTrace = 255

// Anonymous returns ANONYMOUS (RFC 4505): the client is nobody, and says at most
// where it may be asked about what it did. trace is an e-mail address, or else
// text without "@" that the client's own administrators understand, or empty. It
// has 255 characters at most, and none that RFC 4505 §3 prohibits: controls, for
// one. An address should be sent only if its owner agrees (RFC 4505 §5).
func Anonymous(trace string) core.Mechanism { return &anonymous{trace} }

type anonymous struct{ trace string }

func (*anonymous) Name() string { return "ANONYMOUS" }

// KeepsSecret implements [core.SecretKeeper]: there is none.
func (*anonymous) KeepsSecret() bool { return true }

// String returns the name alone.
func (*anonymous) String() string { return "ANONYMOUS" }

// GoString is String, for %#v.
func (*anonymous) GoString() string { return "ANONYMOUS" }

// Check implements [core.Checker].
func (a *anonymous) Check() error {
	if !utf8.ValidString(a.trace) {
		return errors.New("the trace is not UTF-8")
	}
	if n := utf8.RuneCountInString(a.trace); n > maxTrace {
		return fmt.Errorf("the trace has %d characters, and %d are allowed (RFC 4505 §2)", n, maxTrace)
	}
	// RFC 4505 §3: no mapping and no normalization, only characters that are
	// prohibited and the rules for two directions of writing.
	profile := stringprep.Profile{
		Prohibits: []stringprep.Set{
			stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4,
			stringprep.TableC5, stringprep.TableC6, stringprep.TableC8, stringprep.TableC9,
		},
		CheckBiDi: true,
	}
	if _, err := profile.Prepare(a.trace); err != nil {
		return fmt.Errorf("the trace does not suit (RFC 4505 §3): %w", err)
	}
	if strings.Contains(a.trace, "@") {
		// RFC 4505 §2: email = addr-spec. In angle brackets there is no room for
		// a name before it.
		if _, err := mail.ParseAddress("<" + a.trace + ">"); err != nil {
			return errors.New(`the trace holds "@" and is not an e-mail address`)
		}
	}
	return nil
}

func (a *anonymous) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	if err := a.Check(); err != nil {
		return nil, nil, err
	}
	return oneMessage{}, []byte(a.trace), nil
}

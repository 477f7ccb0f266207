package core_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestPolicy(t *testing.T) {
	line := strings.Repeat("x", 999)
	refuseLong := func(c *core.Config) { c.LongLines = core.RefuseLongLines }
	for _, tt := range []struct {
		rule    string
		content string
		change  func(*core.Config)
		refused bool // else it is sent as it is
	}{
		{"G18 a line of 999 octets is sent as it is (RFC 5321 §4.5.3.1.6)", line, func(*core.Config) {}, false},
		{"G18 or refused", line, refuseLong, true},
		{"G18 one of 998 is not", line[1:], refuseLong, false},
		{"G19 8-bit content without 8BITMIME is refused (RFC 6152 §3)", "\xe9", func(*core.Config) {}, true},
		{"G19 or sent as it is, undeclared", "\xe9", func(c *core.Config) { c.EightBit = core.SendEightBit }, false},
	} {
		for kind, body := range map[string]core.Body{
			"known":    core.String(tt.content + "\r\n"),
			"file":     core.File(writeFile(t, []byte(tt.content+"\r\n"))),
			"one-shot": core.Reader(strings.NewReader(tt.content + "\r\n")),
		} {
			t.Run(tt.rule+", "+kind, func(t *testing.T) {
				dialogue := pipelining + envelope + goOn + "C: " + tt.content + "\nC| .\nS: 250 ok" + bye
				switch {
				case tt.refused && kind == "one-shot":
					dialogue = pipelining + envelope + goOn + "IGNORE"
				case tt.refused:
					dialogue = pipelining + bye
				}
				c := newClient(t, dialogue, smtptest.Options{}, tt.change)
				m := message("b@example.com")
				m.Body = body
				receipt, err := c.Send(t.Context(), m)
				if tt.refused {
					hasError(t, err, core.StagePolicy, core.Local, nil)
				}
				if got := receipt.Recipients[0].Outcome == core.Refused; got != tt.refused || (err != nil) != tt.refused {
					t.Errorf("refused: %t: %v", got, err)
				}
			})
		}
	}
}

func TestPolicy_aLargeBodyOfUnknownFormIsLookedThroughFirst(t *testing.T) {
	content := strings.Repeat("x\r\n", 50_000)
	c := newClient(t, pipelining+bye, smtptest.Options{})
	m := message("b@example.com")
	m.Body = noForm{core.String(content + "\xe9")}
	if _, err := c.Send(t.Context(), m); !errors.Is(err, core.ErrNotSupported) {
		t.Error(err)
	}
}

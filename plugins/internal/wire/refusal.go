package wire

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/core"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
)

// Refusal returns a server's refusal as it travels.
func Refusal(e *core.Error) *mechanismv1.Refusal {
	return &mechanismv1.Refusal{
		Code:         uint32(e.Reply.Code),
		EnhancedCode: e.Reply.Enhanced.String(),
		Text:         bounded(e.Reply.Text),
		Failure:      Failure(e),
	}
}

// CoreRefusal returns a refusal as a mechanism in a plugin gets it.
func CoreRefusal(r *mechanismv1.Refusal) *core.Error {
	e := &core.Error{
		Stage: core.StageAuth,
		Class: Class(r.GetFailure()),
		Reply: core.Reply{Code: int(r.GetCode()), Text: r.GetText()},
		Hint:  Hint(r.GetFailure()),
		Err:   Err(r.GetFailure()),
	}
	if code := r.GetEnhancedCode(); strings.Count(code, ".") == 2 {
		var c core.EnhancedCode
		if n, err := fmt.Sscanf(code, "%d.%d.%d", &c[0], &c[1], &c[2]); err == nil && n == len(c) {
			e.Reply.Enhanced = c
		}
	}
	return e
}

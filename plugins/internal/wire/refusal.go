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
	return &core.Error{
		Stage: core.StageAuth,
		Class: Class(r.GetFailure()),
		Reply: core.Reply{Code: int(r.GetCode()), Enhanced: EnhancedCode(r.GetEnhancedCode()), Text: r.GetText()},
		Hint:  Hint(r.GetFailure()),
		Err:   Err(r.GetFailure()),
	}
}

// EnhancedCode reads an enhanced status code (RFC 3463 §2). What is none is as if
// there were none.
func EnhancedCode(text string) core.EnhancedCode {
	var c core.EnhancedCode
	if strings.Count(text, ".") == 2 {
		if n, err := fmt.Sscanf(text, "%d.%d.%d", &c[0], &c[1], &c[2]); err == nil && n == len(c) {
			return c
		}
	}
	return core.EnhancedCode{}
}

package ratelimit

import (
	"strings"

	"github.com/postrider/postrider/core"
)

// asksForLess reports whether a server asks to come slower: it closes the
// connection (RFC 5321 §3.8), or defers by a policy (RFC 3463 §3.8) that is not
// greylisting, which has nothing to do with how much is sent.
func asksForLess(r core.Reply) bool {
	switch {
	case r.Code == 421:
	case (r.Code == 450 || r.Code == 451) && r.Enhanced[1] == 7:
	default:
		return false
	}
	text := strings.ToLower(r.Text)
	for _, word := range []string{"greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list"} {
		if strings.Contains(text, word) {
			return false
		}
	}
	return true
}

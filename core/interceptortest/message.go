package interceptortest

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/core"
)

// text returns content with a text of at least so many octets.
func text(subject string, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: Alice <alice@example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: %s\r\n\r\n", subject)
	for n := 0; n == 0 || n < size; n += 62 {
		b.WriteString("Sixty octets and no more, such that many lines are as many.\r\n")
	}
	return b.String()
}

// recipients returns addresses for names, which are separated by spaces.
func recipients(names string) (list []string) {
	if names == "" {
		names = "bob"
	}
	for _, name := range strings.Fields(names) {
		list = append(list, name+"@example.net")
	}
	return list
}

func message(content string, to ...string) *core.Message {
	return &core.Message{From: "alice@example.com", To: core.Recipients(to...), Body: core.String(content)}
}

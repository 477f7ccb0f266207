package main

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/core"
)

// newMessage makes up a short message.
func newMessage(from string, to ...string) *core.Message {
	author := from
	if author == "" {
		author = "postmaster@localhost" // the null sender is for envelopes only
	}
	domain := author[strings.LastIndexByte(author, '@')+1:] // quoted, the local part may have an @ too
	text := []string{
		"From: <" + author + ">",
		"To: <" + strings.Join(to, ">, <") + ">",
		"Subject: Postrider says hello",
		"Date: " + time.Now().Format("Mon, 02 Jan 2006 15:04:05 -0700"),
		fmt.Sprintf("Message-ID: <%s@%s>", rand.Text(), domain),
		"",
		"Hello!",
		"",
		"A line that is only a dot must not end the message:",
		".",
		"It did not.",
		"",
	}
	return &core.Message{From: from, To: core.Recipients(to...), Body: core.String(strings.Join(text, "\r\n"))}
}

package core

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/core/internal/wire"
)

// EndOfData is the Verb of the pseudo-command that stands for content after
// DATA was answered with 354: the content itself and the dot that ends it.
const EndOfData = "."

// Command is one command of an [Exchange].
type Command struct {
	// Verb is the command's name in upper case. It is empty for a response to
	// a challenge of AUTH, and [EndOfData] for content.
	Verb string
	// Path is the address of MAIL or RCPT, without angle brackets.
	Path string
	// Argument is what follows the verb of any other command. Of AUTH it is
	// the mechanism's name alone, of BDAT it is empty.
	Argument string
	// Params are the parameters of MAIL and RCPT. An interceptor may change
	// them; nothing else.
	Params []Param
	// Size is how many octets of content follow, line ends made right and
	// before dot-stuffing; -1 if that is not known beforehand. It is zero for
	// a command without content.
	Size int64
	// Last says of BDAT that the message ends with this chunk (RFC 3030 §2).
	Last bool

	secret  *secret // behind Argument, never shown
	stage   Stage
	timeout time.Duration // for each reply
	silent  bool          // a reply that says to go on is of no interest to the caller

	// Content gets one reply for each accepted recipient over LMTP (RFC 2033
	// §4.2), and under PRDR one more in front and one behind.
	perRecipient bool
	prdr         bool
	accepted     int // recipients accepted before this exchange
}

// secret is what AUTH and the responses to its challenges carry. It is kept
// behind a pointer so that printing a Command, however deeply, does not show it.
type secret struct {
	octets []byte   // in base64; nil if the command has none
	shown  *[]shown // what a server might repeat of the credentials
}

// shown is octets that were shown to a server.
type shown struct {
	octets  string
	encoded bool // they are base64, which occurs nowhere by chance
}

// redact removes from a server's text what it repeats of the credentials.
func (s *secret) redact(reply Reply) Reply {
	if reply.Code == 334 {
		reply.Text = redacted // a challenge is part of the secret
		return reply
	}
	for _, p := range *s.shown {
		if len(p.octets) >= 4 {
			reply.Text = strings.ReplaceAll(reply.Text, p.octets, redacted)
		} else {
			reply.Text = withoutWord(reply.Text, p.octets)
		}
	}
	for _, p := range *s.shown {
		reply.Text = withoutPieces(reply.Text, p)
	}
	return reply
}

// withoutWord removes from text a word that is so short that it also occurs within
// others. A single octet is none: a digit, say, which codes have.
func withoutWord(text, word string) string {
	if len(word) < 2 {
		return text
	}
	letter := func(c byte) bool {
		return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf
	}
	if strings.Trim(word, "0123456789") == "" {
		whole := letter
		letter = func(c byte) bool { return c == '.' || whole(c) } // 4.7.12 is no word of its own
	}
	for i := 0; i+len(word) <= len(text); i++ {
		end := i + len(word)
		if text[i:end] == word && (i == 0 || !letter(text[i-1])) && (end == len(text) || !letter(text[end])) {
			text = text[:i] + redacted + text[end:]
			i += len(redacted) - 1
		}
	}
	return text
}

// leastPiece is from how many octets on a piece of the credentials is taken for
// one: what servers quote of a command they may cut.
const leastPiece = 8

// withoutPieces removes from text what it has of the credentials, in pieces: any
// of base64, and beginnings of the rest, of which a piece may be a common word.
func withoutPieces(text string, p shown) string {
	isPiece := func(s string) bool {
		return strings.HasPrefix(p.octets, s) || p.encoded && strings.Contains(p.octets, s)
	}
	for i := 0; i+leastPiece <= len(text); i++ {
		n := leastPiece
		if !isPiece(text[i : i+n]) {
			continue
		}
		for i+n < len(text) && isPiece(text[i:i+n+1]) {
			n++
		}
		text = text[:i] + redacted + text[i+n:]
		i += len(redacted) - 1
	}
	return text
}

const redacted = "[redacted]"

// String returns the command as it goes out, without line end. What belongs to
// a credential is replaced by "[redacted]", and content by its size.
func (c *Command) String() string {
	var b strings.Builder
	switch c.Verb {
	case EndOfData:
		b.WriteString("[content")
		if c.Size >= 0 {
			b.WriteString(", " + strconv.FormatInt(c.Size, 10) + " octets")
		}
		b.WriteString("] .")
		return b.String()
	case "MAIL":
		b.WriteString("MAIL FROM:<" + c.Path + ">")
	case "RCPT":
		b.WriteString("RCPT TO:<" + c.Path + ">")
	case "BDAT":
		b.WriteString("BDAT " + strconv.FormatInt(c.Size, 10))
		if c.Last {
			b.WriteString(" LAST")
		}
		b.WriteString(" [content]")
	default:
		b.WriteString(c.Verb)
		if c.Argument != "" {
			b.WriteString(" " + c.Argument)
		}
	}
	for _, p := range c.Params {
		b.WriteString(" " + p.String())
	}
	if c.secret != nil && c.secret.octets != nil {
		if b.Len() > 0 {
			b.WriteString(" ")
		}
		b.WriteString(redacted)
	}
	return printable(b.String())
}

// write appends the command to a group, or says why it cannot be sent.
func (c *Command) write(g *wire.Group, extensions *Extensions) error {
	g.Verb(c.Verb)
	switch c.Verb {
	case "MAIL":
		g.Text(" FROM:<")
		g.Text(c.Path)
		g.Text(">")
	case "RCPT":
		g.Text(" TO:<")
		g.Text(c.Path)
		g.Text(">")
	case "BDAT":
		g.Text(" ")
		g.Int(c.Size)
		if c.Last {
			g.Text(" LAST")
		}
	default:
		if c.Argument != "" {
			g.Text(" ")
			g.Text(c.Argument)
		}
	}
	if err := checkTwice(c.Params); err != nil {
		return localError(c.stage, err, "")
	}
	for i := range c.Params {
		if err := c.Params[i].misplaced(c.Verb); err != nil {
			return localError(c.stage, err, "")
		}
		if err := c.Params[i].check(extensions); err != nil {
			return localError(c.stage, err, "")
		}
		c.Params[i].write(g)
	}
	if c.secret != nil && c.secret.octets != nil {
		if c.Verb != "" {
			g.Text(" ")
		}
		g.Octets(c.secret.octets)
	}
	if err := g.End(); err != nil {
		if c.secret != nil && errors.Is(err, wire.ErrControl) {
			err = wire.ErrControl // the offset would tell about the secret
		}
		return localError(c.stage, fmt.Errorf("%s: %w", c.name(), err), "")
	}
	return nil
}

// Stage returns the stage that the command belongs to.
func (c *Command) Stage() Stage { return c.stage }

// name names the command in errors.
func (c *Command) name() string {
	switch c.Verb {
	case "":
		return "AUTH response"
	case EndOfData:
		return "content"
	}
	return c.Verb
}

// fits reports whether a reply is one that the command can have. Anything else
// means that replies and commands no longer match.
func (c *Command) fits(code int) bool {
	if code >= 400 {
		return true
	}
	switch c.Verb {
	case "DATA":
		return code == 354
	case "AUTH", "":
		return code < 300 || code == 334
	case "BDAT", EndOfData:
		return code < 300 || code == 353 && c.prdr
	}
	return code < 300
}

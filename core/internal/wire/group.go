package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// MaxCommand is the longest command line that a [Group] takes, line end
// included. The longest that any RFC speaks of is a line of AUTH, for which
// 12,288 octets are deemed enough (RFC 4954 §4).
const MaxCommand = 12288

// Errors of a [Group]. Nothing of the refused command is kept.
var (
	ErrControl        = errors.New("CR, LF or NUL inside a command")
	ErrCommandTooLong = errors.New("command line too long")
)

// Group collects the commands that leave in one write.
//
// A command is begun with [Group.Verb], extended with the other methods and
// finished with [Group.End], which refuses one that would be read as more than
// one line, whoever supplied its parts. The zero value is ready to use.
type Group struct {
	buf   []byte
	start int // of the command under way
}

// Reset forgets all commands and keeps the memory.
func (g *Group) Reset() { g.buf, g.start = g.buf[:0], 0 }

// Bytes returns the finished commands. It is valid until the next call.
func (g *Group) Bytes() []byte { return g.buf[:g.start] }

// Verb begins a command.
func (g *Group) Verb(verb string) {
	g.buf = append(g.buf[:g.start], verb...)
}

// Text extends the command by s as it is.
func (g *Group) Text(s string) { g.buf = append(g.buf, s...) }

// Octets extends the command by p as it is.
func (g *Group) Octets(p []byte) { g.buf = append(g.buf, p...) }

// Int extends the command by n in decimal.
func (g *Group) Int(n int64) { g.buf = strconv.AppendInt(g.buf, n, 10) }

// End finishes the command, or drops it and says why.
func (g *Group) End() error {
	line := g.buf[g.start:]
	err := checkLine(line)
	if err != nil {
		g.buf = g.buf[:g.start]
		return err
	}
	g.buf = append(g.buf, '\r', '\n')
	g.start = len(g.buf)
	return nil
}

func checkLine(line []byte) error {
	for _, c := range [...]byte{'\r', '\n', 0} {
		if i := bytes.IndexByte(line, c); i >= 0 {
			return fmt.Errorf("%w: octet %#02x at offset %d", ErrControl, c, i)
		}
	}
	if len(line)+2 > MaxCommand {
		return fmt.Errorf("%w: %d octets, %d allowed", ErrCommandTooLong, len(line)+2, MaxCommand)
	}
	return nil
}

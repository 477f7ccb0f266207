package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// width is what a line keeps to, where its content lets it.
const width = 96

// page is what a person reads: sections of lines, with colour on a terminal. It
// is safe for concurrent use.
type page struct {
	begun time.Time
	color bool

	mu sync.Mutex
	w  io.Writer
}

func newPage(w io.Writer) *page {
	return &page{begun: time.Now(), color: wantsColor(w), w: w}
}

// wantsColor reports whether w is a terminal whose user has nothing against
// colour (https://no-color.org).
func wantsColor(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// style is a way to set text off, as the parameter of an SGR escape sequence.
type style string

const (
	plain  style = ""
	strong style = "1"
	faint  style = "2"
	good   style = "32"
	bad    style = "31"
	wait   style = "33"
	asking style = "36" // the client
	saying style = "35" // the server
)

// paint gives text a style, on a terminal.
func (p *page) paint(s style, text string) string {
	if !p.color || s == plain || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// line writes one line.
func (p *page) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	_, _ = fmt.Fprintln(p.w, text) // nobody is left to be told
}

// section begins a section.
func (p *page) section(title, about string) {
	p.line("")
	p.line("%s  %s", p.paint(strong, strings.ToUpper(title)), p.paint(faint, about))
	p.line("")
}

// sinceBegun returns how long ago the page was begun, as text.
func (p *page) sinceBegun() string { return millis(time.Since(p.begun)) }

// millis writes a duration in milliseconds.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}

// wrap breaks text at spaces into lines of no more than n characters, except
// for words that are longer. A slash, which is between the lines of a reply,
// stays at a line's end.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && word != "/" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// pad fills text up with spaces to n characters.
func pad(text string, n int) string {
	return text + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(text)))
}

// plural writes a number and what there is of it.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

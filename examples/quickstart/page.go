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

// width is how many characters a line has at most: those of a terminal that
// nobody has made wider.
const width = 80

// page is what a person reads: sections of lines, with colour on a terminal. It
// is safe for concurrent use.
type page struct {
	begun time.Time
	color bool

	mu  sync.Mutex
	w   io.Writer
	err error // the first that writing came to
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

// line writes one line, unless one before it could not be written.
func (p *page) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	_, p.err = fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// failure returns why the page is not complete, or nil.
func (p *page) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// paragraph writes text on as many lines as it takes.
func (p *page) paragraph(s style, text string) {
	for _, line := range wrap(text, width, 0) {
		p.line("%s", p.paint(s, line))
	}
}

// section begins a section.
func (p *page) section(title, about string) {
	p.line("")
	p.line("%s  %s", p.paint(strong, strings.ToUpper(title)), p.paint(faint, about))
	p.line("")
}

// sinceBegun returns how long ago the page was begun, as text.
func (p *page) sinceBegun() string { return millis(time.Since(p.begun)) }

// millis writes a duration in milliseconds, in no more than eight characters
// within a day.
func millis(d time.Duration) string {
	decimals := 1
	if d > 999*time.Second {
		decimals = 0
	}
	return fmt.Sprintf("%.*f", decimals, float64(d)/float64(time.Millisecond))
}

// wrap breaks text at spaces into lines of no more than n characters, all but the
// first of which begin with hang spaces. Only a word that is longer than a line
// is broken itself. A slash, which is between the lines of a reply, stays with
// the word before it.
func wrap(text string, n, hang int) []string {
	var lines []string
	line := ""
	for _, word := range words(text) {
		length := utf8.RuneCountInString(word)
		if line != "" && utf8.RuneCountInString(line)+1+length > n && length <= n-hang {
			lines = append(lines, line)
			line = ""
		}
		switch {
		case line != "":
			line += " "
		case len(lines) > 0:
			line = strings.Repeat(" ", hang)
		}
		line += word
		for all := []rune(line); len(all) > n; all = []rune(line) {
			lines = append(lines, string(all[:n]))
			line = strings.Repeat(" ", hang) + string(all[n:])
		}
	}
	return append(lines, line)
}

// words splits text at its spaces, but not before a slash that stands alone.
func words(text string) []string {
	var list []string
	for word := range strings.FieldsSeq(text) {
		if n := len(list); word == "/" && n > 0 {
			list[n-1] += " /"
		} else {
			list = append(list, word)
		}
	}
	return list
}

// shorten cuts text off after n characters, and shows that it did.
func shorten(text string, n int) string {
	if all := []rune(text); len(all) > n {
		return string(all[:n-1]) + "…"
	}
	return text
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

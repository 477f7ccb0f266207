package core

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/core/internal/wire"
)

// Param is a parameter of MAIL or RCPT, RFC 5321 §4.1.2. It goes out only to a
// server that announced the extension it belongs to; elsewhere it is an error,
// before anything of the transaction is written.
type Param struct {
	extension string // "": none is needed
	keyword   string
	value     string
	number    int64
	numeric   bool
	verb      string // the command that it belongs to; "": either
	err       error  // of the constructor
}

// Parameter returns the parameter keyword=value, or keyword alone if value is
// empty. It belongs to the extension that a server announces in its reply to
// EHLO; an empty extension sends it to any server.
//
// The value goes out as it is: a space, "=", or control character in it is
// refused when the command is written, and so is what is not ASCII unless the
// server takes SMTPUTF8. [XText] has an encoding for all of those.
func Parameter(extension, keyword, value string) Param {
	return Param{extension: extension, keyword: keyword, value: value}
}

// numberParam avoids turning a number into a string for each message.
func numberParam(extension, keyword string, n int64) Param {
	return Param{extension: extension, keyword: keyword, number: n, numeric: true}
}

// Keyword returns the parameter's keyword.
func (p Param) Keyword() string { return p.keyword }

// Extension returns the EHLO keyword that must have been announced, or "".
func (p Param) Extension() string { return p.extension }

// Value returns the parameter's value, or "".
func (p Param) Value() string {
	if p.numeric {
		return strconv.FormatInt(p.number, 10)
	}
	return p.value
}

// String returns the parameter as it goes out.
func (p Param) String() string {
	if v := p.Value(); v != "" {
		return p.keyword + "=" + v
	}
	return p.keyword
}

// checkSyntax returns why the parameter cannot be sent to any server.
func (p Param) checkSyntax() error {
	if p.err != nil {
		return fmt.Errorf("parameter %s: %w", p.keyword, p.err)
	}
	if !validKeyword(p.keyword) {
		return fmt.Errorf("parameter %q: a keyword is letters, digits and hyphens", p.keyword)
	}
	for i := 0; i < len(p.value); i++ {
		if c := p.value[i]; c <= ' ' || c == '=' || c == 0x7f {
			return fmt.Errorf("parameter %s: octet %#02x is not allowed in a value", p.keyword, c)
		}
	}
	if !utf8.ValidString(p.value) {
		return fmt.Errorf("parameter %s: the value is not UTF-8", p.keyword)
	}
	return nil
}

// checkTwice refuses a keyword that stands twice: servers differ in which they
// take.
func checkTwice(params []Param) error {
	for i := range params {
		for j := range i {
			if strings.EqualFold(params[i].keyword, params[j].keyword) {
				return fmt.Errorf("parameter %s stands twice", params[i].keyword)
			}
		}
	}
	return nil
}

// check returns why the parameter cannot be sent to a server with these
// extensions.
func (p Param) check(extensions *Extensions) error {
	if err := p.checkSyntax(); err != nil {
		return err
	}
	if !extensions.smtpUTF8 && !isASCII(p.value) {
		return fmt.Errorf("parameter %s: the value is not ASCII, and SMTPUTF8 is %w: use xtext (RFC 3461 §4)", p.keyword, ErrNotSupported)
	}
	if p.extension != "" && !extensions.Has(p.extension) {
		return fmt.Errorf("parameter %s: %w: it did not announce %s", p.keyword, ErrNotSupported, p.extension)
	}
	return nil
}

func (p Param) write(g *wire.Group) {
	g.Text(" ")
	g.Text(p.keyword)
	switch {
	case p.numeric:
		g.Text("=")
		g.Int(p.number)
	case p.value != "":
		g.Text("=")
		g.Text(p.value)
	}
}

// validKeyword checks esmtp-keyword, RFC 5321 §4.1.2.
func validKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || c != '-') {
			return false
		}
	}
	return s != ""
}

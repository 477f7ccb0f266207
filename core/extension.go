package core

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Extensions is what a server announced in its reply to EHLO or LHLO, RFC 5321
// §4.1.1.1. Keywords compare without regard to case. The zero value holds none,
// as after HELO. It is immutable.
type Extensions struct {
	list []extension

	// What every message asks for, looked up once.
	pipelining, chunking, eightBitMIME, binaryMIME, smtpUTF8, size, starttls bool
	sizeLimit                                                                int64
	rcptMax, mailMax                                                         int // RFC 9422; 0: no limit
}

type extension struct {
	keyword string // upper case
	param   string
}

// Has reports whether the keyword was announced.
func (e *Extensions) Has(keyword string) bool {
	_, ok := e.Param(keyword)
	return ok
}

// Param returns the text behind the keyword, and whether the keyword was
// announced at all. For AUTH it is the union of all AUTH lines, the old form
// "AUTH=LOGIN" included; a repeated keyword keeps its last text.
func (e *Extensions) Param(keyword string) (string, bool) {
	for i := range e.list {
		if strings.EqualFold(e.list[i].keyword, keyword) {
			return e.list[i].param, true
		}
	}
	return "", false
}

// All yields the keywords, in upper case and in the server's order, with their
// parameters.
func (e *Extensions) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, x := range e.list {
			if !yield(x.keyword, x.param) {
				return
			}
		}
	}
}

// SizeLimit returns the largest message in octets that the server takes, and
// whether it named a limit: SIZE without a number, or with zero, is none (RFC
// 1870 §3), and so is a number that is none.
func (e *Extensions) SizeLimit() (octets int64, ok bool) { return e.sizeLimit, e.sizeLimit > 0 }

// Mechanisms returns the SASL mechanisms that AUTH announced, in upper case and
// in the server's order (RFC 4954 §3).
func (e *Extensions) Mechanisms() []string {
	param, _ := e.Param("AUTH")
	return strings.Fields(strings.ToUpper(param))
}

// parseExtensions reads the text of a reply to EHLO. The first line is the
// server's own name and greeting.
func parseExtensions(text string) (e Extensions, domain string) {
	first, rest, _ := strings.Cut(text, "\n")
	if words := strings.Fields(first); len(words) > 0 {
		domain = words[0]
	}
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) == 0 || !isASCII(fields[0]) {
			continue // some characters beyond ASCII have an upper case within it
		}
		keyword, param := strings.ToUpper(fields[0]), strings.Join(fields[1:], " ")
		if k, v, ok := strings.Cut(keyword, "="); ok && k == "AUTH" {
			// The form from before RFC 2554, still announced beside the real
			// one for old clients.
			keyword, param = k, strings.TrimSpace(v+" "+param)
		}
		e.add(keyword, param)
	}
	e.index()
	return e, domain
}

// without returns the extensions without some of them.
func (e *Extensions) without(keywords []string) Extensions {
	var rest Extensions
	for _, x := range e.list {
		if !slices.ContainsFunc(keywords, func(k string) bool { return strings.EqualFold(k, x.keyword) }) {
			rest.list = append(rest.list, x)
		}
	}
	rest.index()
	return rest
}

// index looks up what every message asks for.
func (e *Extensions) index() {
	e.pipelining = e.Has("PIPELINING")
	e.chunking = e.Has("CHUNKING")
	e.eightBitMIME = e.Has("8BITMIME")
	e.binaryMIME = e.Has("BINARYMIME")
	e.smtpUTF8 = e.Has("SMTPUTF8")
	e.starttls = e.Has("STARTTLS")
	var size string
	if size, e.size = e.Param("SIZE"); e.size {
		if n, err := strconv.ParseUint(size, 10, 63); err == nil {
			e.sizeLimit = int64(n)
		}
	}
	limits, _ := e.Param("LIMITS")
	for limit := range strings.FieldsSeq(limits) {
		name, value, _ := strings.Cut(limit, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			continue // what cannot be read is no limit
		}
		switch strings.ToUpper(name) {
		case "RCPTMAX":
			e.rcptMax = n
		case "MAILMAX":
			e.mailMax = n
		}
	}
}

func (e *Extensions) add(keyword, param string) {
	at := slices.IndexFunc(e.list, func(x extension) bool { return x.keyword == keyword })
	if at < 0 {
		at = len(e.list)
		e.list = append(e.list, extension{keyword: keyword})
	}
	if keyword == "AUTH" {
		param = union(e.list[at].param, param)
	}
	e.list[at].param = param
}

// union appends those words of b to a that a lacks. A word that is not ASCII is
// no name of a mechanism.
func union(a, b string) string {
	words := strings.Fields(a)
next:
	for w := range strings.FieldsSeq(b) {
		if !isASCII(w) {
			continue
		}
		for _, have := range words {
			if strings.EqualFold(have, w) {
				continue next
			}
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

package headers

import (
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"
)

// stamp is the Date and the Message-ID of a delivery, made when they are needed.
type stamp struct {
	at               time.Time
	dates, ids       sync.Once
	dateLine, idLine string
}

// date returns the field Date, RFC 5322 §3.6.1.
func (s *stamp) date() string {
	s.dates.Do(func() {
		s.dateLine = "Date: " + s.at.Format("Mon, 2 Jan 2006 15:04:05 -0700") + "\r\n" // RFC 5322 §3.3
	})
	return s.dateLine
}

// messageID returns the field Message-ID, RFC 5322 §3.6.4. Its left side has 128
// random bits at least.
func (s *stamp) messageID(domain string) string {
	s.ids.Do(func() { s.idLine = "Message-ID: <" + rand.Text() + "@" + domain + ">\r\n" })
	return s.idLine
}

// idDomain returns the domain for the Message-ID of a message from a sender.
func (s *stage) idDomain(from string) string {
	if s.domain != "" {
		return s.domain
	}
	if at := strings.LastIndexByte(from, '@'); at >= 0 { // no domain holds one
		if domain := idRight(from[at+1:]); domain != "" {
			return domain
		}
	}
	return s.host
}

// hostName returns the full name of this host, or "localhost".
func hostName() string {
	name, err := os.Hostname()
	if name = idRight(name); err != nil || !strings.Contains(name, ".") {
		return "localhost"
	}
	return name
}

// idRight returns a domain as the right side of a Message-ID, in ASCII, or "" if
// it is none.
func idRight(domain string) string {
	if len(domain) > 255 {
		return ""
	}
	if literal, ok := strings.CutPrefix(domain, "["); ok {
		literal, ok = strings.CutSuffix(literal, "]")
		if !ok || literal == "" || strings.ContainsFunc(literal, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`[]\`, r) }) {
			return "" // RFC 5322 §3.6.4: no-fold-literal
		}
		return domain
	}
	if !isASCII(domain) {
		var err error
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return ""
		}
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool { return !isAtext(r) }) {
			return "" // RFC 5322 §3.2.3: dot-atom-text
		}
	}
	return domain
}

// isAtext reports whether r may stand in an atom, RFC 5322 §3.2.3.
func isAtext(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > '~' {
			return false
		}
	}
	return true
}

package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/postrider/postrider/core"
)

// words puts what the packages say to programmers into what can be done here.
// The longer ones come first.
var words = strings.NewReplacer(
	"add it to Config.TLS.RootCAs, see LoadAuthorities, or pin it, see PinnedTLS", "add it with -ca FILE",
	"add the authority to Config.TLS.RootCAs, see LoadAuthorities", "add the authority with -ca FILE",
	"add the authority to Config.TLS.RootCAs", "add the authority with -ca FILE",
	"name the server as its certificate does with Config.TLS.ServerName", "put ?servername=NAME behind it",
	"; Config.TLSPolicy can do without TLS", "; -tls opportunistic does without TLS",
	", or set Config.TLSPolicy", ", or set -tls",
	"by Config.TLSPolicy", "without -tls off",
	"Config.TLSPolicy", "-tls",
	", or set AllowInsecureAuth", "",
	"put credentials into Config.Auth, where they stay out of logs", "give credentials with -user and -password-file",
	"Config.Endpoints", "-endpoints",
	"Config.Endpoint", "-url",
	"Config.LocalName", "-helo",
	"configure another mechanism", "choose another mechanism with -mech",
	"configure one that the server offers", "choose another with -mech, or leave that out",
	"put them into Config.Auth, where they stay out of logs", "give them with -user and -password-file",
	"parse it with net/mail first", "give the address alone",
	"if the recipients are known from elsewhere, fill in a core.Message", "add some, or give -from and -to instead of -header-envelope",
	"set Message.To, with core.Recipients for example", "give -to ADDRESS",
	"replace it in a single step, by a rename", "write the password or the token into it",
	"call StartTLS first, ", "",
	"Config.Path", "the path",
	"Config.SHA256", "the checksum",
	"use the first word that sha256sum prints", "mailer plugin verify prints it",
	"Config.Name", "the name",
)

// ofConfig is a field of a configuration in Go.
var ofConfig = regexp.MustCompile(`Config\.([A-Z]\w*)`)

// inWords returns an error of a configuration in the words of the file: its fields
// have names such as "max-interval" there.
func inWords(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%q cannot be a %s", strings.TrimPrefix(e.Field, "."), e.Value)
	}
	text := strings.TrimPrefix(words.Replace(err.Error()), "config: ")
	return errors.New(ofConfig.ReplaceAllStringFunc(text, func(field string) string {
		var b strings.Builder
		for n, r := range strings.TrimPrefix(field, "Config.") {
			if n > 0 && unicode.IsUpper(r) {
				b.WriteByte('-')
			}
			b.WriteRune(unicode.ToLower(r))
		}
		return strconv.Quote(b.String())
	}))
}

// redactor removes credentials from text.
type redactor struct {
	secrets func() []string // in a function, where nothing prints them
}

// newRedactor returns one for a user's password or token.
func newRedactor(user, secret string) redactor {
	b := base64.RawStdEncoding.EncodeToString // what pads it may stay
	list := []string{
		secret, b([]byte(secret)),
		b([]byte("\x00" + user + "\x00" + secret)), b([]byte(user + "\x00" + user + "\x00" + secret)), // RFC 4616 §2
	}
	return redactor{func() []string { return list }}
}

func (r redactor) redact(text string) string {
	if r.secrets == nil {
		return text
	}
	for _, secret := range r.secrets() {
		switch {
		case len(secret) >= 4:
			text = strings.ReplaceAll(text, secret, "[redacted]")
		case len(secret) > 1: // which occurs within other words by chance
			word := regexp.MustCompile(`(^|[^\pL\pN])` + regexp.QuoteMeta(secret) + `($|[^\pL\pN])`)
			text = word.ReplaceAllString(text, "${1}[redacted]${2}")
		}
	}
	return text
}

// replyText returns what a server wrote, fit to be shown: without its codes and
// without what it repeats of the credentials.
func (r redactor) replyText(reply core.Reply) string {
	lines := strings.Split(r.redact(reply.Text), "\n")
	if enhanced := reply.Enhanced.String(); enhanced != "" {
		for i, line := range lines {
			lines[i] = strings.TrimPrefix(strings.TrimPrefix(line, enhanced), " ")
		}
	}
	_, text, _ := strings.Cut(core.Reply{Code: reply.Code, Text: strings.Join(lines, "\n")}.String(), " ")
	return text
}

// errorText returns cause, reply and hint of an error, fit to be shown.
func (r redactor) errorText(e *core.Error) string {
	var parts []string
	if e.Err != nil {
		parts = append(parts, words.Replace(r.redact(e.Err.Error())))
	}
	if text := r.replyText(e.Reply); e.Code() != 0 && text != "" {
		parts = append(parts, text)
	}
	text := strings.Join(parts, ": ")
	if text == "" && e.Code() != 0 {
		text = "the server gives no reason"
	}
	if e.Hint != "" {
		text += " (" + words.Replace(r.redact(e.Hint)) + ")"
	}
	return oneLine(text)
}

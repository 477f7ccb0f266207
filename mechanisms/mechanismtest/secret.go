package mechanismtest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/core"
)

// form is a way in which a secret may appear.
type form struct{ name, text string }

func formsOf(secrets []string) []form {
	var forms []form
	for n, secret := range secrets {
		add := func(how, text string) {
			same := func(f form) bool { return f.text == text }
			if len(text) >= minSecret && !slices.ContainsFunc(forms, same) {
				forms = append(forms, form{fmt.Sprintf("secret %d%s", n, how), text})
			}
		}
		inner := func(quoted string) string { return quoted[1 : len(quoted)-1] }
		asJSON, _ := json.Marshal(secret) // a string always can be
		octets := fmt.Sprintf("%#v", []byte(secret))
		add("", secret)
		add(", quoted", inner(strconv.Quote(secret)))
		add(", quoted in ASCII", inner(strconv.QuoteToASCII(secret)))
		add(", in JSON", inner(string(asJSON)))
		add(", in a URL", url.QueryEscape(secret))
		add(" in hexadecimal", hex.EncodeToString([]byte(secret)))
		add(" in hexadecimal", strings.ToUpper(hex.EncodeToString([]byte(secret))))
		add(" as a list of octets", inner(fmt.Sprint([]byte(secret))))
		add(" as a list of octets", octets[strings.IndexByte(octets, '{')+1:len(octets)-1])
		for before := range 3 {
			add(" in base64", insideBase64(base64.RawStdEncoding, secret, before))
			add(" in base64", insideBase64(base64.RawURLEncoding, secret, before))
		}
	}
	return forms
}

// insideBase64 returns what is seen of a secret in the base64 of something longer,
// in which a number of octets stand before it: the digits that depend on nothing
// else.
func insideBase64(encoding *base64.Encoding, secret string, before int) string {
	digits := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
	first := (before*8 + 5) / 6
	end := (before + len(secret)) * 8 / 6
	return digits[first:end]
}

// find returns an error that says which secret is in a text. It does not show it.
func (k *kit) find(text string) error {
	for _, f := range k.forms {
		if strings.Contains(text, f.text) {
			return fmt.Errorf("it shows %s", f.name)
		}
	}
	return nil
}

var verbs = [...]string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"}

// findPrinted looks for secrets in all that fmt makes of a value.
func (k *kit) findPrinted(v any) error {
	for _, verb := range verbs {
		if err := k.find(fmt.Sprintf(verb, v)); err != nil {
			return fmt.Errorf("with %s %w", verb, err)
		}
	}
	return nil
}

func (k *kit) checkPrinted() error {
	fresh, used := k.New(k.t), k.New(k.t)
	if err := k.send(used); err != nil {
		return err
	}
	for _, m := range []core.Mechanism{fresh, used} {
		for _, p := range []struct {
			what  string
			value any
		}{
			{"the mechanism", m},
			{"a pointer to it", &m},
			{"a slice of it", []core.Mechanism{m}},
			{"an array of it", [1]core.Mechanism{m}},
			{"a map of it", map[string]core.Mechanism{"m": m}},
			{"a struct with it", struct{ M core.Mechanism }{m}},
			{"a struct with it in a field that is not exported", struct{ m core.Mechanism }{m}},
			{"a pointer to such a struct", &struct{ m core.Mechanism }{m}},
			{"a core.Config", core.Config{Auth: []core.Mechanism{m}}},
			{"a core.Choice", core.Choice{Mechanism: m, Candidates: []core.Candidate{{Mechanism: m}}}},
		} {
			if err := k.findPrinted(p.value); err != nil {
				return fmt.Errorf("%s: %w", p.what, err)
			}
		}
		if octets, err := json.Marshal(m); err == nil { // as loggers do
			if err := k.find(string(octets)); err != nil {
				return fmt.Errorf("its JSON: %w", err)
			}
		}
	}
	return nil
}

// checkErrors looks at what the mechanism itself returns. What repeats a challenge
// in which a server repeats the secret is left to the session, which knows what
// was said.
func (k *kit) checkErrors() error {
	for _, t := range k.hostileTrials() {
		if t.hostile.echo {
			continue
		}
		for _, r := range t.tap.runs {
			for _, err := range r.errs {
				if found := k.findPrinted(err); found != nil {
					return fmt.Errorf("%v: the error: %w", &t, found)
				}
			}
		}
	}
	return nil
}

func (k *kit) checkLogs() error {
	log, err := k.sendLogged(k.New(k.t))
	if err != nil {
		return err
	}
	if err := k.find(log); err != nil {
		return fmt.Errorf("the log of a session: %w", err)
	}
	for _, t := range k.hostileTrials() {
		if err := k.find(t.log); err != nil {
			return fmt.Errorf("%v: the log: %w", &t, err)
		}
		if err := k.findPrinted(t.err); err != nil {
			return fmt.Errorf("%v: the session's error: %w", &t, err)
		}
	}
	return nil
}

func (k *kit) checkKeepsSecret() error {
	if !k.tap(k.New(k.t)).KeepsSecret() {
		return nil
	}
	for n, response := range k.right.responses() {
		if err := k.find(string(response)); err != nil {
			return fmt.Errorf("response %d to the server: %w", n, err)
		}
	}
	for _, v := range k.Vectors {
		for n, r := range append([]Round{{Response: v.Initial}}, v.Rounds...) {
			if err := k.find(string(r.Response)); err != nil {
				return fmt.Errorf("%s: response %d: %w", v.Name, n, err)
			}
		}
	}
	return nil
}

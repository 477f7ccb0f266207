package dkim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/mail"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// prepareDomains checks the table of signatures by domain.
func prepareDomains(table map[string][]Signature) (map[string][]*signature, error) {
	prepared := make(map[string][]*signature, len(table))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		where := fmt.Sprintf("Config.Domains[%q]", name)
		domain, err := asciiDomain(name)
		if err != nil {
			return nil, fmt.Errorf("%s: the domain %w", where, err)
		}
		if prepared[domain] != nil {
			return nil, fmt.Errorf("%s: the domain %s is there twice", where, domain)
		}
		list, err := prepare(where, table[name])
		if err != nil {
			return nil, err
		}
		// RFC 7489 §3.1.1. What belongs to one organization cannot be told here.
		aligned := func(s *signature) bool { return within(domain, s.options.Domain) || within(s.options.Domain, domain) }
		if !slices.ContainsFunc(list, aligned) {
			return nil, fmt.Errorf("%s has no signature by that domain or by one above it: DMARC would take it for unsigned", where)
		}
		prepared[domain] = list
	}
	return prepared, nil
}

// choose returns the signatures for a message with this header.
func (s *stage) choose(ctx context.Context, header []byte) ([]*signature, error) {
	if s.domains == nil && s.selects == nil {
		return s.signatures, nil
	}
	domains, err := authors(header)
	if err != nil {
		return nil, refusal("write From as Name <local@domain>", "the From field cannot be read, so that there is no domain to sign for: %w", err)
	}
	var list []*signature
	for _, domain := range domains {
		of, err := s.of(ctx, domain)
		switch {
		case err != nil:
			return nil, err
		case len(of) == 0 && !s.allowOthers:
			return nil, refusal("put it into dkim.Config.Domains, have Select know it, or set AllowOtherDomains",
				"there is no signature for %s, the domain of the From field", domain)
		}
		list = append(list, of...)
	}
	if len(domains) == 0 && !s.allowOthers {
		return nil, refusal("put one there, or set dkim.Config.AllowOtherDomains", "the From field has no address, so that there is no domain to sign for")
	}
	return append(list, s.signatures...), nil
}

// of returns the signatures for messages of a domain.
func (s *stage) of(ctx context.Context, domain string) ([]*signature, error) {
	if s.selects == nil {
		for above := true; above; _, domain, above = strings.Cut(domain, ".") {
			if list := s.domains[domain]; list != nil {
				return list, nil
			}
		}
		return nil, nil
	}
	list, err := s.selects(ctx, domain)
	if err != nil {
		return nil, signingError("selecting the signatures for %s: %w", domain, err)
	}
	prepared, err := prepare("Select's result", list)
	if err != nil {
		return nil, refusal("", "for the domain %s: %w", domain, err)
	}
	return prepared, nil
}

// authors returns the domains of the addresses in the From field (RFC 5322
// §3.6.2), each once.
func authors(header []byte) ([]string, error) {
	// What the names say is of no interest, so any charset will do.
	p := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}
	list, err := p.ParseList(fromField(header))
	if err != nil {
		return nil, err
	}
	var domains []string
	for _, a := range list {
		domain, err := asciiDomain(a.Address[strings.LastIndexByte(a.Address, '@')+1:])
		if err != nil {
			return nil, fmt.Errorf("the domain %w", err)
		}
		if !slices.Contains(domains, domain) {
			domains = append(domains, domain)
		}
	}
	return domains, nil
}

// fromField returns the value of the From field of a header that has one,
// unfolded (RFC 5322 §2.2.3).
func fromField(header []byte) string {
	var value []byte
	found := false
	for line := range bytes.SplitSeq(header, crlf) {
		switch folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t'); {
		case found && !folded:
			return string(value)
		case found:
			value = append(value, line...)
		default:
			name, rest, _ := bytes.Cut(line, []byte(":"))
			if found = strings.EqualFold(string(bytes.TrimRight(name, " \t")), "From"); found {
				value = slices.Clone(rest)
			}
		}
	}
	return string(value)
}

// asciiDomain returns a domain in lower case and in A-labels (RFC 5890 §2.3.2.1).
func asciiDomain(domain string) (string, error) {
	ascii := strings.ToLower(domain)
	if strings.ContainsFunc(domain, func(r rune) bool { return r > '~' }) {
		var err error
		if ascii, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", fmt.Errorf("%q has no ASCII form: %w", domain, err)
		}
	}
	return ascii, checkDomain(ascii)
}

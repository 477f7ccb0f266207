package ratelimit

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/postrider/postrider/core"
)

// ByEndpoint is a [Config.Key]: the network and address of the client's
// endpoint, for an interceptor that several clients share. A client with several
// endpoints counts a message under the first until an attempt has been made, and
// then under that of the last attempt.
func ByEndpoint(d *core.Delivery, _ core.Recipient) string {
	e := d.Endpoint()
	return e.Network + " " + e.Address
}

// BySender is a [Config.Key]: the message's From. Its local part keeps its case,
// which may matter (RFC 5321 §2.4).
func BySender(d *core.Delivery, _ core.Recipient) string {
	from := d.Message().From
	domain := from[domainOf(from):]
	if c := canonical(domain); c != domain {
		return from[:domainOf(from)] + c
	}
	return from
}

// BySenderDomain is a [Config.Key]: the domain of the message's From, or "" for
// the null reverse-path.
func BySenderDomain(d *core.Delivery, _ core.Recipient) string {
	from := d.Message().From
	return canonical(from[domainOf(from):])
}

// ByRecipientDomain is a [Config.Key]: the domain of the recipient. A message to
// recipients of several domains counts under each of them.
func ByRecipientDomain(_ *core.Delivery, to core.Recipient) string {
	return canonical(to.Address[domainOf(to.Address):])
}

// domainOf returns where the domain of an address begins. A quoted local part
// may hold an @, a domain holds none; "postmaster" has no domain.
func domainOf(address string) int {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return len(address)
	}
	return at + 1
}

// canonical returns one form for all spellings of a domain (RFC 5890 §2.3.2.4):
// A-labels in lower case.
func canonical(domain string) string {
	if strings.ContainsFunc(domain, func(r rune) bool { return r >= 0x80 }) {
		if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
			return ascii
		}
	}
	return strings.ToLower(domain)
}

// count fills in what is to be tried of a delivery.
func (t *try) count(d *core.Delivery, key func(*core.Delivery, core.Recipient) string) {
	to, parts := d.Message().To, t.one[:0]
	for i := range d.Receipt().Recipients {
		if o := d.Receipt().Recipients[i].Outcome; o != core.Pending && o != core.Deferred {
			continue
		}
		name := ""
		if key != nil {
			name = key(d, to[i])
		}
		if n := len(parts); n > 0 && parts[n-1].Key == name {
			parts[n-1].Recipients++
		} else {
			parts = append(parts, Part{Key: name, Recipients: 1})
		}
	}
	t.request.Parts = merged(parts)
}

// merged returns parts in the order of their keys, and each key once.
func merged(parts []Part) []Part {
	if len(parts) < 2 {
		return parts
	}
	slices.SortFunc(parts, byKey)
	last := 0
	for _, p := range parts[1:] {
		if p.Key == parts[last].Key {
			parts[last].Recipients += p.Recipients
			continue
		}
		last++
		parts[last] = p
	}
	return parts[:last+1]
}

func byKey(a, b Part) int { return cmp.Compare(a.Key, b.Key) }

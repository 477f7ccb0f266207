package main

import (
	"strings"

	"golang.org/x/net/idna"
)

// normal returns an address in the form in which a list has it.
func normal(address string) string {
	local, domain := split(address)
	if domain == "" {
		return local
	}
	return local + "@" + domain
}

// split returns the two parts of an address in lower case, the domain in
// A-labels, so that nobody gets past a list by another spelling.
func split(address string) (local, domain string) {
	at := strings.LastIndexByte(address, '@') // the local part may be quoted and have one, too
	if at < 0 {
		return strings.ToLower(address), "" // "Postmaster" needs none (RFC 5321 §4.1.1.3)
	}
	local, domain = strings.ToLower(address[:at]), strings.ToLower(address[at+1:])
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		domain = ascii
	}
	return local, domain
}

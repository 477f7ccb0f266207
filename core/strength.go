package core

import (
	"cmp"
	"slices"
)

// strengths is the order of known mechanisms, the strongest first.
var strengths = [...]string{
	"EXTERNAL",                                                     // proven by TLS, nothing is sent
	"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", // bound to the TLS channel
	"GS2-KRB5-PLUS", "GS2-KRB5", "GSSAPI", "GSS-SPNEGO",
	"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1",
	"OAUTHBEARER", "XOAUTH2", // a secret is shown, but one that expires
	"NTLM", "DIGEST-MD5", "CRAM-MD5", // no secret is shown, but a weak proof of it
	"PLAIN", "LOGIN", // the password is shown
	"ANONYMOUS",
}

// rank returns the place of a mechanism in the order; it is negative for one
// that is not known.
func rank(name string) int { return slices.Index(strengths[:], name) }

// CompareStrength orders the names of mechanisms, the strongest first, as
// slices.SortStableFunc wants it. Names that are not in this list come first, in
// alphabetical order: to add a mechanism of one's own is to want it used.
//
//	EXTERNAL
//	SCRAM-SHA-512-PLUS, SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS
//	GS2-KRB5-PLUS, GS2-KRB5, GSSAPI, GSS-SPNEGO
//	SCRAM-SHA-512, SCRAM-SHA-256, SCRAM-SHA-1
//	OAUTHBEARER, XOAUTH2
//	NTLM, DIGEST-MD5, CRAM-MD5
//	PLAIN, LOGIN
//	ANONYMOUS
//
// A mechanism that shows nothing that can be used again stands before one that
// shows the password; one that proves the server to the client, and one that is
// bound to the TLS channel, before those that do not.
func CompareStrength(a, b string) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

package mechanisms_test

import (
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
)

// The examples of https://developers.google.com/workspace/gmail/imap/xoauth2-protocol.
func TestXOAuth2_Google(t *testing.T) {
	const first = "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
	m := mechanisms.XOAuth2("someuser@example.com", mechanisms.StaticToken("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"))
	if err := auth(t, m, "C: AUTH XOAUTH2 "+first+"\nS: 235 2.7.0 Accepted"); err != nil {
		t.Error(err)
	}
	err := auth(t, m, "C: AUTH XOAUTH2 "+first+"\nS: 334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K\nC:\n"+
		"S: 535-5.7.1 Username and Password not accepted. Learn more at\nS: 535 5.7.1 https://support.google.com/mail/answer/14257")
	const want = `auth: the server does not accept the credentials: the token is refused, status "401", scope "https://mail.google.com/": 535 5.7.1 ` +
		`Username and Password not accepted. Learn more at / 5.7.1 https://support.google.com/mail/answer/14257 ` +
		`(check that the token is for this server and this user, and has the scope that the server wants)`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Trap 6: servers that do not take an initial response ask for it.
func TestXOAuth2_withoutInitialResponse(t *testing.T) {
	m := mechanisms.WithoutInitialResponse(mechanisms.XOAuth2("ann", mechanisms.StaticToken("token1")))
	if err := auth(t, m, "C: AUTH XOAUTH2\nS: 334\nC: "+base64Of("user=ann\x01auth=Bearer token1\x01\x01")+"\nS: 235 ok"); err != nil {
		t.Error(err)
	}
	if k, ok := m.(core.SecretKeeper); ok && k.KeepsSecret() {
		t.Error("a token is a reusable secret")
	}
}

package mechanisms_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"net"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// A refusal says what the server wants of a token.
func ExampleTokenError() {
	server, err := smtptest.StartScript(`
		S: 220 mx.example
		C: EHLO client.example
		S: 250-mx.example
		S: 250 AUTH OAUTHBEARER
		C: AUTH OAUTHBEARER bixhPWFubkBleGFtcGxlLmNvbSwBaG9zdD1zZXJ2ZXIuZXhhbXBsZQFhdXRoPUJlYXJlciBvcGVuLXNlc2FtZQEB
		S: 334 eyJzdGF0dXMiOiJpbnN1ZmZpY2llbnRfc2NvcGUiLCJzY29wZSI6Im1haWwuc2VuZCJ9
		C: AQ==
		S: 535 5.7.8 no
	`, smtptest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	config := server.Config()
	tokens := mechanisms.StaticToken("open-sesame") // or one that gets fresh ones
	config.Auth = []core.Mechanism{mechanisms.OAuthBearer("ann@example.com", tokens), mechanisms.XOAuth2("ann@example.com", tokens)}
	client, err := core.NewClient(config)
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Send(context.Background(), &core.Message{
		From: "ann@example.com",
		To:   core.Recipients("bob@example.net"),
		Body: core.String("Subject: hello\r\n\r\nhello\r\n"),
	})
	if refusal, ok := errors.AsType[*mechanisms.TokenError](err); ok {
		fmt.Printf("%s: the scope %s would do\n", refusal.Status, refusal.Scope)
	}
	if err := errors.Join(client.Close(), server.Close()); err != nil {
		log.Fatal(err)
	}

	// Output:
	// insufficient_scope: the scope mail.send would do
}

// rfcToken is the token of the examples in RFC 7628 §4.
const rfcToken = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestOAuthBearer_initialResponse(t *testing.T) {
	proxy := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1080}
	for _, tt := range []struct {
		rule, user string
		peer       core.Peer
		want       string
	}{
		{"RFC 7628 §4.1 the example in IMAP", "user@example.com", core.Peer{Endpoint: "smtp://server.example.com:143", ServerName: "server.example.com"},
			"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"},
		{"RFC 7628 §4.1 the example in SMTP", "user@example.com", core.Peer{Endpoint: "smtp://server.example.com:587", ServerName: "server.example.com"},
			"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"},
		{"RFC 5801 §4 a comma and an equals sign are escaped", "a=b,c", core.Peer{}, base64Of("n,a=a=3Db=2Cc,\x01auth=Bearer " + rfcToken + "\x01\x01")},
		{"RFC 7628 §3.1 without a user", "", core.Peer{}, base64Of("n,,\x01auth=Bearer " + rfcToken + "\x01\x01")},
		{"RFC 7628 §3.1 the port is the endpoint's, not the proxy's", "", core.Peer{Endpoint: "smtp://h:0587/?x=y", ServerName: "h", Addr: proxy}, base64Of("n,,\x01host=h\x01port=587\x01auth=Bearer " + rfcToken + "\x01\x01")},
		{"RFC 7628 §3.1 the port of smtps", "", core.Peer{Endpoint: "smtps://h", ServerName: "h", Addr: proxy}, base64Of("n,,\x01host=h\x01port=465\x01auth=Bearer " + rfcToken + "\x01\x01")},
		{"RFC 7628 §3.1 the port of smtp", "", core.Peer{Endpoint: "smtp://h", ServerName: "h", Addr: proxy}, base64Of("n,,\x01host=h\x01port=25\x01auth=Bearer " + rfcToken + "\x01\x01")},
		{"RFC 7628 §3.1 the port of lmtp", "", core.Peer{Endpoint: "lmtp://h", ServerName: "h", Addr: proxy}, base64Of("n,,\x01host=h\x01port=24\x01auth=Bearer " + rfcToken + "\x01\x01")},
		{"RFC 7628 §3.1 the port of another transport", "", core.Peer{Endpoint: "x://h", ServerName: "h", Addr: &net.TCPAddr{Port: 2525}}, base64Of("n,,\x01host=h\x01port=2525\x01auth=Bearer " + rfcToken + "\x01\x01")},
		{"RFC 7628 §3.1 a Unix socket has no port", "", core.Peer{Endpoint: "unix:///run/s", ServerName: "localhost", Addr: &net.UnixAddr{}}, base64Of("n,,\x01host=localhost\x01auth=Bearer " + rfcToken + "\x01\x01")},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.OAuthBearer(tt.user, mechanisms.StaticToken(rfcToken))
			for range 2 { // it can be used again
				a, initial, err := m.Start(t.Context(), &tt.peer)
				if err != nil {
					t.Fatal(err)
				}
				if got := base64Of(string(initial)); got != tt.want {
					t.Errorf("got  %q\nwant %s", initial, tt.want)
				}
				if err := a.Done(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

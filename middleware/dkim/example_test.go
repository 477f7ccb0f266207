package dkim_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log"
	"net"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/transport"
)

// verifier is a server that verifies what it receives. It has the record of the
// key at hand; other servers ask the DNS.
type verifier struct{ record string }

func (v verifier) NewSession(*smtp.Conn) (smtp.Session, error) { return v, nil }
func (verifier) Mail(string, *smtp.MailOptions) error          { return nil }
func (verifier) Rcpt(string, *smtp.RcptOptions) error          { return nil }
func (verifier) Reset()                                        {}
func (verifier) Logout() error                                 { return nil }

func (v verifier) Data(r io.Reader) error {
	list, err := msgauth.VerifyWithOptions(r, &msgauth.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			fmt.Println("looking up", name)
			return []string{v.record}, nil
		},
	})
	for _, one := range list {
		fmt.Println("signed by", one.Domain, "error:", one.Err)
	}
	return err
}

func Example() {
	// Normally dkim.LoadKey("key.pem").
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	record, err := dkim.Record(key.Public())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := smtp.NewServer(verifier{record})
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()

	sign, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{
		{Domain: "example.com", Selector: "2024a", Signer: key},
	}})
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewClient(core.Config{
		Endpoint:     "smtp://" + listener.Addr().String(),
		Transports:   transport.Standard(),
		Interceptors: []core.Interceptor{sign},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	_, err = client.Send(context.Background(), &core.Message{
		From: "me@example.com",
		To:   core.Recipients("you@example.net"),
		Body: core.String("From: me@example.com\r\nSubject: Hello\r\n\r\nHello.\r\n"),
	})
	fmt.Println("error:", err)
	// Output:
	// v=DKIM1; k=ed25519; p=O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=
	// looking up 2024a._domainkey.example.com
	// signed by example.com error: <nil>
	// error: <nil>
}

package dkim_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/dkim"
	"github.com/postrider/postrider/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server keeps what it receives.
type server struct {
	mu       sync.Mutex
	sessions int
	mails    int
	received [][]byte
	// data, if it is not nil, takes the content in.
	data func(io.Reader) error
	// answer is what happens to the n-th message.
	answer func(n int) error
}

// listen starts the server and returns its URL.
func (s *server) listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := smtp.NewServer(s)
	srv.MaxLineLength = 1 << 20
	srv.ErrorLog = log.New(io.Discard, "", 0) // it complains about connections that break off
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return "smtp://" + l.Addr().String()
}

func (s *server) NewSession(*smtp.Conn) (smtp.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions++
	return s, nil
}

func (s *server) Mail(string, *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails++
	return nil
}

func (s *server) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *server) Reset()                               {}
func (s *server) Logout() error                        { return nil }

func (s *server) Data(r io.Reader) error {
	if s.data != nil {
		return s.data(r)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, content)
	if s.answer != nil {
		return s.answer(len(s.received))
	}
	return nil
}

// counts returns the sessions and transactions so far.
func (s *server) counts() (sessions, mails int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions, s.mails
}

func newClient(t testing.TB, url string, interceptors ...core.Interceptor) *core.Client {
	t.Helper()
	client, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: url, Transports: transport.Standard(), Interceptors: interceptors}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func mustNew(t testing.TB, config dkim.Config) core.Interceptor {
	t.Helper()
	i, err := dkim.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func message(body core.Body) *core.Message {
	return &core.Message{From: "me@example.com", To: core.Recipients("you@example.net"), Body: body}
}

// keys are made once: RSA takes its time.
var keys = sync.OnceValue(func() (k struct {
	rsa *rsa.PrivateKey
	ed  ed25519.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

func rsaSignature() dkim.Signature {
	return dkim.Signature{Domain: "example.com", Selector: "r1", Signer: keys().rsa}
}

func edSignature() dkim.Signature {
	return dkim.Signature{Domain: "example.com", Selector: "e1", Signer: keys().ed}
}

// numbered is a key that belongs to the selector "s" and the number.
func numbered(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// lookup is the DNS with the records of the keys, of whatever domain.
func lookup(name string) ([]string, error) {
	selector, _, ok := strings.Cut(name, "._domainkey.")
	var public crypto.PublicKey
	n, isNumbered := number(selector)
	switch {
	case ok && selector == "r1":
		public = keys().rsa.Public()
	case ok && selector == "e1":
		public = keys().ed.Public()
	case ok && isNumbered:
		public = numbered(n).Public()
	default:
		return nil, errors.New("no such name: " + name)
	}
	record, err := dkim.Record(public)
	return []string{record}, err
}

// number returns the number in a selector that has one.
func number(selector string) (n byte, ok bool) {
	_, err := fmt.Sscanf(selector, "s%d", &n)
	return n, err == nil
}

// signers verifies all signatures of a message, and returns the selectors and
// domains that they are by.
func signers(t testing.TB, content []byte) string {
	t.Helper()
	for _, v := range verify(t, content) {
		if v.Err != nil {
			t.Errorf("%s: %v", v.Domain, v.Err)
		}
	}
	var list []string
	fields, _, _ := strings.Cut(string(content), "\r\n\r\n")
	for _, field := range strings.Split("\r\n"+fields, "\r\nDKIM-Signature:")[1:] {
		tags := map[string]string{}
		for tag := range strings.SplitSeq(field, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(tag), "=")
			tags[name] = value
		}
		list = append(list, tags["s"]+"@"+tags["d"])
	}
	return strings.Join(list, " ")
}

// verify returns the verdict on each signature of a message.
func verify(t testing.TB, content []byte) []*msgauth.Verification {
	t.Helper()
	v, err := msgauth.VerifyWithOptions(bytes.NewReader(content), &msgauth.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		t.Fatalf("verifying: %v\n%s", err, content)
	}
	return v
}

// verifies returns why a body does not verify.
func verifies(ctx context.Context, body core.Body) error {
	r, err := body.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	list, err := msgauth.VerifyWithOptions(r, &msgauth.VerifyOptions{LookupTXT: lookup})
	for _, v := range list {
		err = errors.Join(err, v.Err)
	}
	return err
}

package dkim_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
)

// remote is a key that is elsewhere.
type remote struct {
	crypto.Signer
	sign func(digest []byte) ([]byte, error)
}

func (r *remote) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return r.sign(digest)
}

func TestAKeyThatFailsLeavesTheSessionClean(t *testing.T) {
	unreachable := errors.New("the key server does not answer")
	temporary := &core.Error{Stage: core.StagePolicy, Class: core.Permanent, Err: errors.New("the key was destroyed")}
	for _, tt := range []struct {
		rule  string
		fail  func([]byte) ([]byte, error)
		class core.Class
		is    error
	}{
		{"an error is temporary", func([]byte) ([]byte, error) { return nil, unreachable }, core.Temporary, unreachable},
		{"an error of the core's type says itself what it is", func([]byte) ([]byte, error) { return nil, temporary }, core.Permanent, temporary},
		{"a panic is contained, and local", func([]byte) ([]byte, error) { panic(unreachable) }, core.Local, unreachable},
		{"a signature by another key is found out", func([]byte) ([]byte, error) { return make([]byte, 64), nil }, core.Temporary, nil},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := &server{}
			key := &remote{Signer: keys().ed}
			client := newClient(t, s.listen(t), mustNew(t, dkim.Config{Signatures: []dkim.Signature{
				rsaSignature(), {Domain: "example.com", Selector: "e1", Signer: key},
			}}))
			works := func(digest []byte) ([]byte, error) { return keys().ed.Sign(nil, digest, crypto.Hash(0)) }

			key.sign = works
			if _, err := client.Send(t.Context(), message(core.String(header+"\r\nOne.\r\n"))); err != nil {
				t.Fatal(err)
			}
			key.sign = tt.fail
			_, err := client.Send(t.Context(), message(core.String(header+"\r\nTwo.\r\n")))
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Stage != core.StagePolicy || e.Class != tt.class {
				t.Errorf("got %v, want a %s error of the stage policy", err, tt.class)
			}
			if tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), "example.com") {
				t.Errorf("got %v, which does not lead to the reason and name the signature", err)
			}
			if _, mails := s.counts(); mails != 1 {
				t.Errorf("a transaction was begun for the message that was not signed")
			}
			key.sign = works
			if _, err := client.Send(t.Context(), message(core.String(header+"\r\nThree.\r\n"))); err != nil {
				t.Fatal(err)
			}
			if sessions, mails := s.counts(); sessions != 1 || mails != 2 {
				t.Errorf("there were %d sessions and %d transactions, want 1 and 2", sessions, mails)
			}
			for _, content := range s.received {
				for _, v := range verify(t, content) {
					if v.Err != nil {
						t.Error(v.Err)
					}
				}
			}
		})
	}
}

// signAlone runs the interceptor without a server.
func signAlone(t *testing.T, ctx context.Context, i core.Interceptor, body core.Body) (core.Body, error) {
	t.Helper()
	c := &core.Content{Body: body}
	err := i.Content(func(context.Context, *core.Content) error { return nil })(ctx, c)
	return c.Body, err
}

func TestAContextThatEndsDoesNotWaitForTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		key := &remote{Signer: keys().ed, sign: func([]byte) ([]byte, error) { <-release; return nil, nil }}
		i := mustNew(t, dkim.Config{Signatures: []dkim.Signature{{Domain: "example.com", Selector: "e1", Signer: key}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := signAlone(t, ctx, i, core.String(header+"\r\nHello.\r\n"))
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Class != core.Temporary || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("got %v after %v, want the deadline", err, time.Since(start))
		}
	})
}

func TestTheKeyIsNotUsedForContentThatIsNotComplete(t *testing.T) {
	key := &counting{Signer: keys().ed}
	i := mustNew(t, dkim.Config{Signatures: []dkim.Signature{{Domain: "example.com", Selector: "e1", Signer: key}}})
	broken := errors.New("the disk is gone")
	for _, read := range []io.Reader{
		io.MultiReader(strings.NewReader(header+"\r\nHello.\r\n"), failing{broken}),
		io.MultiReader(strings.NewReader(header), failing{broken}),
		io.MultiReader(strings.NewReader(header+"\r\n"+strings.Repeat("x", 2000)+"\r\n"), failing{broken}),
	} {
		_, err := signAlone(t, t.Context(), i, core.Reader(read))
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Class != core.Local {
			t.Errorf("got %v, want a local error", err)
		}
	}
	if n := key.n.Load(); n != 0 {
		t.Errorf("the key was used %d times", n)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

package dkim_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/middleware/dkim"
)

const short = "From: me@example.com\r\n\r\nHello.\r\n"

// from is an interceptor that signs for example.com with the keys of a source.
func from(t *testing.T, source dkim.KeySource) core.Interceptor {
	return mustNew(t, dkim.Config{Signatures: []dkim.Signature{{Domain: "example.com", Key: source}}})
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		day := func(n int) time.Time { return start.AddDate(0, 0, n) }
		source, err := dkim.Schedule(
			dkim.Key{Selector: "s3", Signer: numbered(3), NotBefore: day(20), NotAfter: day(30)},
			dkim.Key{Selector: "s1", Signer: numbered(1), NotAfter: day(15)},
			dkim.Key{Selector: "s2", Signer: numbered(2), NotBefore: day(10), NotAfter: day(20)},
			dkim.Key{Selector: "s4", Signer: numbered(4), NotBefore: day(40)},
			dkim.Key{Selector: "s5", Signer: numbered(5), NotBefore: day(45), NotAfter: day(50)},
		)
		if err != nil {
			t.Fatal(err)
		}
		i := from(t, source)
		for _, tt := range []struct {
			rule string
			at   time.Time
			want string
		}{
			{"a key without a beginning", day(0), "s1@example.com"},
			{"the moment before the next one begins", day(10).Add(-1), "s1@example.com"},
			{"the next one signs from its beginning on, the other's end or not", day(10), "s2@example.com"},
			{"a key signs until its end, which is not part of its time", day(20), "s3@example.com"},
			{"nobody's time", day(30), ""},
			{"a key without an end", day(40), "s4@example.com"},
			{"one that came last", day(45), "s5@example.com"},
			{"behind its end the one before has the time again", day(50), "s4@example.com"},
			{"for ever", day(5000), "s4@example.com"},
		} {
			<-time.After(time.Until(tt.at))
			got, err := signedAs(t, i, short)
			if tt.want == "" {
				e, ok := errors.AsType[*core.Error](err)
				if !ok || e.Class != core.Temporary || !strings.Contains(e.Error(), "none of the 5 keys") {
					t.Errorf("%s: got %v, want a temporary error", tt.rule, err)
				}
				continue
			}
			if err != nil || signers(t, got) != tt.want {
				t.Errorf("%s: got %s, %v, want %s", tt.rule, got, err, tt.want)
			}
		}
	})
}

func TestWhatScheduleRefuses(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		rule string
		keys []dkim.Key
		says string
	}{
		{"nothing", nil, "without keys"},
		{"a key without a selector", []dkim.Key{{Signer: numbered(1)}}, "key 0 of the schedule: Selector is empty"},
		{"a key without a signer", []dkim.Key{{Selector: "s1", Signer: numbered(1)}, {Selector: "s2"}}, "key 1 of the schedule: Signer is nil"},
		{"one selector for two keys", []dkim.Key{{Selector: "s1", Signer: numbered(1)}, {Selector: "S1", Signer: numbered(2)}}, "one of its own"},
		{"a key that has no time", []dkim.Key{{Selector: "s1", Signer: numbered(1), NotBefore: now, NotAfter: now}}, "does not come after"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if source, err := dkim.Schedule(tt.keys...); source != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want an error that says %q", err, tt.says)
			}
		})
	}
}

func TestAKeySource(t *testing.T) {
	unreachable := errors.New("the key server does not answer")
	destroyed := &core.Error{Stage: core.StagePolicy, Class: core.Permanent, Err: errors.New("the key was destroyed")}
	key := func(selector string, signer crypto.Signer) dkim.KeySource {
		return func(context.Context) (dkim.Key, error) { return dkim.Key{Selector: selector, Signer: signer}, nil }
	}
	for _, tt := range []struct {
		rule   string
		source dkim.KeySource
		class  core.Class
		is     error
		says   string
	}{
		{"an error is temporary", func(context.Context) (dkim.Key, error) { return dkim.Key{}, unreachable }, core.Temporary, unreachable, "choosing the key for example.com"},
		{"an error of the core's type says itself what it is", func(context.Context) (dkim.Key, error) { return dkim.Key{}, destroyed }, core.Permanent, destroyed, "example.com"},
		{"a selector that ends a tag", key("a; l=0", numbered(1)), core.Temporary, nil, "Selector"},
		{"no signer", key("s1", nil), core.Temporary, nil, "Signer"},
		{"a key of another kind", key("s1", public{key: "none"}), core.Temporary, nil, "RSA and Ed25519"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := &server{}
			client := newClient(t, s.listen(t), from(t, tt.source))
			_, err := client.Send(t.Context(), message(core.String(short)))
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Stage != core.StagePolicy || e.Class != tt.class || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want a %v error of the stage policy that says %q", err, tt.class, tt.says)
			}
			if _, mails := s.counts(); mails != 0 {
				t.Error("a transaction was begun for a message that was not signed")
			}
		})
	}
	t.Run("it has no selector and signer beside it", func(t *testing.T) {
		for _, change := range []func(*dkim.Signature){
			func(s *dkim.Signature) { s.Selector = "" },
			func(s *dkim.Signature) { s.Signer = nil },
		} {
			s := rsaSignature()
			s.Key = key("s1", numbered(1))
			change(&s)
			_, err := dkim.New(dkim.Config{Signatures: []dkim.Signature{s}})
			refused(t, err, "Signatures[0].Key")
		}
	})
	t.Run("a retry keeps the signature, whatever the key is by then", func(t *testing.T) {
		var asked atomic.Int32
		source := func(context.Context) (dkim.Key, error) {
			n := byte(asked.Add(1))
			return dkim.Key{Selector: fmt.Sprintf("s%d", n), Signer: numbered(n)}, nil
		}
		s := &server{answer: func(n int) error {
			if n < 3 {
				return &smtp.SMTPError{Code: 451, Message: "later"}
			}
			return nil
		}}
		client := newClient(t, s.listen(t), thrice, from(t, source))
		for range 2 {
			if _, err := client.Send(t.Context(), message(core.String(short))); err != nil {
				t.Fatal(err)
			}
		}
		for n, want := range []string{"s1@example.com", "s1@example.com", "s1@example.com", "s2@example.com"} {
			if got := signers(t, s.received[n]); got != want {
				t.Errorf("transaction %d: signed by %s, want %s", n, got, want)
			}
		}
	})
}

// write writes a key's file, at a time of its own.
func write(t testing.TB, path string, key ed25519.PrivateKey) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func writeText(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	seed := bytes.Count([]byte(text), []byte("A"))
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Duration(seed)*time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// link makes the link lead to another file, in one step.
func link(t *testing.T, target, path string) {
	t.Helper()
	if err := errors.Join(os.Symlink(target, path+".new"), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFile_aNewLinkIsANewKey(t *testing.T) {
	folder := t.TempDir()
	current := filepath.Join(folder, "current.pem")
	for n := range byte(3) {
		write(t, filepath.Join(folder, fmt.Sprintf("s%d.pem", n+1)), numbered(n+1))
	}
	link(t, "s1.pem", current)
	source, err := dkim.KeyFile(current)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	client := newClient(t, s.listen(t), from(t, source))
	for _, n := range []int{1, 1, 2, 3, 2} {
		link(t, fmt.Sprintf("s%d.pem", n), current)
		if _, err := client.Send(t.Context(), message(core.String(short))); err != nil {
			t.Fatal(err)
		}
		if got, want := signers(t, s.received[len(s.received)-1]), fmt.Sprintf("s%d@example.com", n); got != want {
			t.Errorf("signed by %s, want %s", got, want)
		}
	}
	if sessions, _ := s.counts(); sessions != 1 {
		t.Errorf("there were %d sessions, want 1", sessions)
	}
}

func TestKeyFile_whileTheLinkChangesSelectorAndKeyBelongTogether(t *testing.T) {
	folder := t.TempDir()
	current := filepath.Join(folder, "current.pem")
	write(t, filepath.Join(folder, "s1.pem"), numbered(1))
	write(t, filepath.Join(folder, "s2.pem"), numbered(2))
	link(t, "s1.pem", current)
	source, err := dkim.KeyFile(current)
	if err != nil {
		t.Fatal(err)
	}
	i := from(t, source)
	errs := make(chan error)
	for range 4 {
		go func() {
			var errsHere []error
			for range 200 {
				body, err := signAlone(t, t.Context(), i, core.String(short))
				if err == nil {
					err = verifies(t.Context(), body)
				}
				errsHere = append(errsHere, err)
			}
			errs <- errors.Join(errsHere...)
		}()
	}
	for n, done := 0, 0; done < 4; n++ {
		link(t, fmt.Sprintf("s%d.pem", n%2+1), current)
		select {
		case err := <-errs:
			if done++; err != nil {
				t.Error(err)
			}
		default:
		}
	}
}

func TestKeyFile_thatIsWrittenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s1.pem")
	write(t, path, numbered(2))
	source, err := dkim.KeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := from(t, source)
	if got, err := signedAs(t, i, short); err != nil || verify(t, got)[0].Err == nil {
		t.Errorf("the key is not the one that was published: %v", err)
	}
	for _, tt := range []struct {
		rule   string
		change func()
		says   string // "" if it works
	}{
		{"its key is used", func() { write(t, path, numbered(1)) }, ""},
		{"half of it is none", func() { writeText(t, path, "-----BEGIN PRIVATE KEY-----\nMC4CAQ") }, "no PEM data"},
		{"it works again when it is whole", func() { write(t, path, numbered(1)) }, ""},
		{"a key that is taken away does not sign any more", func() { _ = os.Remove(path) }, "no such file"},
		{"it works again when it is back", func() { write(t, path, numbered(1)) }, ""},
	} {
		tt.change()
		got, err := signedAs(t, i, short)
		if tt.says != "" {
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Class != core.Temporary || !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Error(), path) {
				t.Errorf("%s: got %v, want a temporary error that says %q and names the file", tt.rule, err, tt.says)
			}
		} else if err != nil || signers(t, got) != "s1@example.com" {
			t.Errorf("%s: got %s, %v", tt.rule, got, err)
		}
	}
}

func TestWhatKeyFileRefuses(t *testing.T) {
	folder := t.TempDir()
	bad, name := filepath.Join(folder, "s1.pem"), filepath.Join(folder, "my key.pem")
	writeText(t, bad, "secret")
	write(t, name, numbered(1))
	for _, tt := range []struct{ rule, path, says string }{
		{"no file", filepath.Join(folder, "none.pem"), "no such file"},
		{"no key", bad, "no PEM data"},
		{"a name that is no selector", name, "the selector from the file's name"},
		{"a folder", folder, "dkim: "},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			source, err := dkim.KeyFile(tt.path)
			if source != nil || err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.path) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want an error that says %q and names the file", err, tt.says)
			}
		})
	}
}

func TestAKeyIsNotPrinted(t *testing.T) {
	key := numbered(77)
	config := dkim.Config{
		Signatures: []dkim.Signature{{Domain: "example.com", Selector: "s77", Signer: key}},
		Domains:    map[string][]dkim.Signature{"example.org": {{Domain: "example.org", Selector: "s77", Signer: key}}},
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v", config, config, config),
		fmt.Sprintf("%v %+v %#v %s", dkim.Key{Selector: "s77", Signer: key}, []dkim.Key{{Selector: "s77", Signer: key}}, dkim.Key{Selector: "s77", Signer: key}, &dkim.Key{Selector: "s77", Signer: key}),
	} {
		if strings.Contains(text, "77, 77") || strings.Contains(text, "77 77") || strings.Contains(text, "0x4d") || !strings.Contains(text, "s77") {
			t.Errorf("printed %s", text)
		}
	}
}

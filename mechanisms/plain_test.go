package mechanisms_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlain(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		mechanism core.Mechanism
		want      string
	}{
		{"without an identity (RFC 4616 §4, first example)", mechanisms.Plain("tim", "tanstaaftanstaaf"), "\x00tim\x00tanstaaftanstaaf"},
		{"with an identity (RFC 4616 §4, second example)", mechanisms.PlainAs("Ursel", "Kurt", "xipj3plmq"), "Ursel\x00Kurt\x00xipj3plmq"},
		{"an identity that is the user", mechanisms.PlainAs("tim", "tim", "x"), "tim\x00tim\x00x"},
		{"UTF-8 goes out as it is (RFC 4616 §2)", mechanisms.Plain("bücher", "pässwörd\u760d\u760a😀"), "\x00bücher\x00pässwörd\u760d\u760a😀"},
		{"anything but NUL may be in it (RFC 4616 §2)", mechanisms.Plain("a b@c", "\r\n\t =\x7f"), "\x00a b@c\x00\r\n\t =\x7f"},
		{"255 octets each (RFC 4616 §2)", mechanisms.PlainAs(strings.Repeat("i", 255), strings.Repeat("u", 255), strings.Repeat("p", 255)),
			strings.Repeat("i", 255) + "\x00" + strings.Repeat("u", 255) + "\x00" + strings.Repeat("p", 255)},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := tt.mechanism.Name(); got != "PLAIN" {
				t.Errorf("the name is %q", got)
			}
			for range 2 { // it can be used again
				a, initial, err := tt.mechanism.Start(t.Context(), &core.Peer{})
				if err != nil {
					t.Fatal(err)
				}
				if string(initial) != tt.want {
					t.Errorf("got %q, want %q", initial, tt.want)
				}
				if err := a.Done(t.Context()); err != nil {
					t.Errorf("the last word is %v", err)
				}
				if response, err := a.Next(t.Context(), []byte("more")); err == nil {
					t.Errorf("a challenge was answered with %q", response)
				}
			}
		})
	}
}

func TestPlain_refuses(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		mechanism core.Mechanism
		says      string
	}{
		{"NUL in the identity (RFC 4616 §2)", mechanisms.PlainAs("hunter2\x00", "user", "hunter2"), "identity"},
		{"NUL in the user name (RFC 4616 §2)", mechanisms.Plain("hunter2\x00", "hunter2"), "user name"},
		{"NUL in the password (RFC 4616 §2)", mechanisms.Plain("user", "hunter2\x00x"), "password"},
		{"what is not UTF-8 (RFC 4616 §2)", mechanisms.Plain("user", "hunter2\xff"), "password"},
		{"no user name (RFC 4616 §2)", mechanisms.Plain("", "hunter2"), "user name"},
		{"no password (RFC 4616 §2)", mechanisms.Plain("user", ""), "password"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a, initial, err := tt.mechanism.Start(t.Context(), &core.Peer{})
			if a != nil || initial != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, %q, %v, want an error with %q", a, initial, err, tt.says)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// PLAIN shows a reusable secret: where others could listen it is refused (RFC
// 4954 §4), and nothing of it is written.
func TestPlain_isNotUsedInClearText(t *testing.T) {
	config := smtptest.NewScript(t, `
		S: 220 hi
		C: EHLO client.example
		S: 250-mx.example
		S: 250 AUTH PLAIN
	`, smtptest.Options{Remote: true}).Config()
	config.TLSPolicy = core.TLSOff
	s, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Auth(t.Context(), mechanisms.Plain("user", "hunter2")); !errors.Is(err, core.ErrTLSRequired) {
		t.Errorf("got %v", err)
	}
}

// E13: whatever prints a mechanism, alone or in what holds it, does not print
// the password.
func TestPlain_isPrintedWithoutItsPassword_E13(t *testing.T) {
	m := mechanisms.PlainAs("identity", "user", "hunter2")
	config := core.Config{Auth: append(mechanisms.Password("user", "hunter2"), m)}
	client, err := core.NewClient(smtptest.AtDepth(core.Config{Endpoint: "x://host", Transports: smtptestTransports(t), Auth: mechanisms.Password("user", "hunter2")}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for name, v := range map[string]any{
		"a mechanism": m, "a list": config.Auth, "a map": map[string]core.Mechanism{"x": m}, "a struct": struct{ m core.Mechanism }{m},
		"a pointer to a struct": &struct{ M core.Mechanism }{m}, "a Config": config, "a pointer to a Config": &config, "a client": client,
		"an error": fmt.Errorf("%v: %+v", m, errors.New("x")),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%T", "%10v"} {
			got := fmt.Sprintf(verb, v)
			for _, secret := range []string{"hunter2", "68756e74657232", "68756E74657232"} {
				if strings.Contains(got, secret) {
					t.Errorf("%s with %s: %s", name, verb, got)
				}
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, m); got != "PLAIN" {
			t.Errorf("%s prints %q, want the name", verb, got)
		}
	}
}

// smtptestTransports is a transport for the scheme x that is never dialled.
func smtptestTransports(t *testing.T) []core.Transport {
	return []core.Transport{renamed{smtptest.NewScript(t, "", smtptest.Options{}).Config().Transports[0]}}
}

type renamed struct{ core.Transport }

func (renamed) Scheme() string { return "x" }

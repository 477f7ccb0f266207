package mechanisms_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

func TestLogin_25(t *testing.T) {
	m := mechanisms.Login("u", "p\u00f6")
	for rule, dialogue := range map[string]string{
		"the user name is the initial response":       "C: AUTH LOGIN dQ==\nS: 334 UGFzc3dvcmQ6\nC: cMO2\nS: 235 ok",
		"trap 9: prompts are answered by their order": "C: AUTH LOGIN dQ==\nS: 334 d2hhdGV2ZXI=\nC: cMO2\nS: 235 ok",
		"trap 9: a prompt may be empty":               "C: AUTH LOGIN dQ==\nS: 334\nC: cMO2\nS: 235 ok",
	} {
		t.Run(rule, func(t *testing.T) {
			if err := auth(t, m, dialogue); err != nil {
				t.Error(err)
			}
		})
	}
	if err := auth(t, mechanisms.WithoutInitialResponse(m), "C: AUTH LOGIN\nS: 334\nC: dQ==\nS: 334\nC: cMO2\nS: 235 ok"); err != nil {
		t.Error("the user name after the first challenge:", err)
	}
	if err := auth(t, m, "C: AUTH LOGIN dQ==\nS: 334\nC: cMO2\nS: 334\nC: *\nS: 501 ok"); err == nil {
		t.Error("a third challenge was answered")
	}
}

// RFC 2195 §2: the example there.
func TestCRAMMD5_RFC2195(t *testing.T) {
	m := mechanisms.CRAMMD5("tim", "tanstaaftanstaaf")
	const challenge, response = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+", "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
	if err := auth(t, m, "C: AUTH CRAM-MD5\nS: 334 "+challenge+"\nC: "+response+"\nS: 235 ok"); err != nil {
		t.Error(err)
	}
	if err := auth(t, m, "C: AUTH CRAM-MD5\nS: 334 "+challenge+"\nC: "+response+"\nS: 334\nC: *\nS: 501 ok"); err == nil {
		t.Error("a second challenge was answered")
	}
	if err := auth(t, m, "C: AUTH CRAM-MD5\nS: 235 welcome"); err == nil {
		t.Error("a server that asked for nothing was believed")
	}
	if err := auth(t, m, "C: AUTH CRAM-MD5\nS: 334\nC: dGltIGJhMDAxNjU5MWQ2MTI2NjIzNDhiMjBiY2Q3ZjQ0Mzlh\nS: 535 no"); err == nil {
		t.Error("no error")
	}
	if !m.(core.SecretKeeper).KeepsSecret() {
		t.Error("it shows no secret")
	}
}

func TestPasswords_areNotPrinted(t *testing.T) {
	for _, m := range []core.Mechanism{mechanisms.Login("rider", "sesame"), mechanisms.CRAMMD5("rider", "sesame")} {
		if s := fmt.Sprintf("%v %+v %#v %s %d", m, struct{ m core.Mechanism }{m}, m, struct{ m core.Mechanism }{m}, struct{ m core.Mechanism }{m}); strings.Contains(s, "sesame") {
			t.Error(s)
		}
		for _, empty := range []core.Mechanism{mechanisms.Login("", "p"), mechanisms.Login("u", ""), mechanisms.CRAMMD5("", "p"), mechanisms.CRAMMD5("u", "")} {
			if err := empty.(core.Checker).Check(); err == nil {
				t.Errorf("%v without a user or a password passes", empty)
			}
		}
	}
}

func TestTryEach_22(t *testing.T) {
	const cram = "C: AUTH CRAM-MD5\nS: 334 eA==\nC: dSBkYTM2Mjc4ZjZkN2IzMjEyMjVhYmUzN2ZmOWZhZWU4MQ==\n"
	for _, tt := range []struct {
		rule, offers, dialogue string
		kind                   error
	}{
		{"CRAM-MD5, PLAIN, LOGIN, whatever the server's order", "LOGIN PLAIN CRAM-MD5", cram + "S: 235 ok", nil},
		{"on a refusal the next", "LOGIN PLAIN CRAM-MD5", cram + "S: 535 no\nC: AUTH PLAIN AHUAcA==\nS: 535 no\nC: AUTH LOGIN dQ==\nS: 334\nC: cA==\nS: 235 ok", nil},
		{"what is not offered is left out", "LOGIN", "C: AUTH LOGIN dQ==\nS: 334\nC: cA==\nS: 235 ok", nil},
		{"at last the last error", "PLAIN LOGIN", "C: AUTH PLAIN AHUAcA==\nS: 535 first\nC: AUTH LOGIN dQ==\nS: 535 last", core.ErrAuthentication},
		{"a refusal counts for more than what is not offered", "PLAIN", "C: AUTH PLAIN AHUAcA==\nS: 535 last", core.ErrAuthentication},
		{"24 none of them is offered", "X-OTHER", "", core.ErrNotSupported},
		{"[Q] not after 421", "PLAIN LOGIN", "C: AUTH PLAIN AHUAcA==\nS: 421 bye\nHANG", core.ErrDisconnected},
		{"nor after a temporary failure", "PLAIN LOGIN", "C: AUTH PLAIN AHUAcA==\nS: 454 last", core.ErrAuthentication},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s, err := core.Dial(t.Context(), smtptest.NewScript(t, "S: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250 AUTH "+tt.offers+"\n"+tt.dialogue, smtptest.Options{}).Config())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = mechanisms.TryEach(t.Context(), s, mechanisms.CRAMMD5("u", "p"), mechanisms.Plain("u", "p"), mechanisms.Login("u", "p"))
			if !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
				t.Error(err)
			}
			if tt.kind == core.ErrAuthentication && !strings.Contains(err.Error(), "last") {
				t.Errorf("error %v is not the last one", err)
			}
		})
	}
}

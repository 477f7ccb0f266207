package gssapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms/gssapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		mechanism core.Mechanism
		says      string // empty if it is good
	}{
		{"a password", gssapi.Password("alice", "hunter2", gssapi.Config{}), ""},
		{"a password, no user", gssapi.Password("", "hunter2", gssapi.Config{}), "empty"},
		{"no password", gssapi.Password("alice", "", gssapi.Config{}), "empty"},
		{"a keytab that is not there yet", gssapi.Keytab("alice", "/none", gssapi.Config{}), ""},
		{"a keytab, no user", gssapi.Keytab("", "/none", gssapi.Config{}), "empty"},
		{"no keytab", gssapi.Keytab("alice", "", gssapi.Config{}), "empty"},
		{"a credential cache that is not there yet", gssapi.CCache("/none", gssapi.Config{}), ""},
		{"no credential cache", gssapi.CCache("", gssapi.Config{}), "empty"},
		{"a principal", gssapi.CCache("/none", gssapi.Config{SPN: "smtp/mail.example.com"}), ""},
		{"a principal that is a host", gssapi.CCache("/none", gssapi.Config{SPN: "mail.example.com"}), "smtp/mail.example.com"},
		{"a principal without a host", gssapi.CCache("/none", gssapi.Config{SPN: "smtp/"}), "smtp/mail.example.com"},
		{"NUL in the identity", gssapi.CCache("/none", gssapi.Config{Identity: "a\x00b"}), "Identity"},
		{"an identity that is not UTF-8", gssapi.CCache("/none", gssapi.Config{Identity: "\xff"}), "Identity"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got := tt.mechanism.Name(); got != "GSSAPI" {
				t.Errorf("the name is %q", got)
			}
			err := tt.mechanism.(core.Checker).Check()
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
			if _, _, startErr := tt.mechanism.Start(t.Context(), &core.Peer{ServerName: "localhost"}); startErr == nil || err != nil && startErr.Error() != err.Error() {
				t.Errorf("Start says %v", startErr)
			}
		})
	}
}

func TestGSSAPI_keepsItsSecret(t *testing.T) {
	if !gssapi.Password("alice", "hunter2", gssapi.Config{}).(core.SecretKeeper).KeepsSecret() {
		t.Error("it shows no secret")
	}
}

// E13: whatever prints a mechanism does not print the password.
func TestGSSAPI_isPrintedWithoutItsPassword_E13(t *testing.T) {
	m := gssapi.Password("alice", "hunter2", gssapi.Config{})
	for name, v := range map[string]any{
		"a mechanism": m, "a list": []core.Mechanism{m}, "a struct": struct{ m core.Mechanism }{m},
		"a Config": core.Config{Auth: []core.Mechanism{m}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
				t.Errorf("%s with %s: %s", name, verb, got)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, m); got != "GSSAPI" {
			t.Errorf("%s prints %q, want the name", verb, got)
		}
	}
}

// withKDC returns a mechanism whose KDC is at an address.
func withKDC(t *testing.T, address string) core.Mechanism {
	t.Helper()
	path := filepath.Join(t.TempDir(), "krb5.conf")
	settings := "[libdefaults]\ndefault_realm = EXAMPLE.TEST\nudp_preference_limit = 1\n[realms]\nEXAMPLE.TEST = {\nkdc = " + address + "\n}\n"
	if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return gssapi.Password("alice", "hunter2", gssapi.Config{Krb5Conf: path})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func peer() *core.Peer { return &core.Peer{ServerName: "mail.example.test"} }

func TestKDC_thatCannotBeReached(t *testing.T) {
	l := listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := withKDC(t, l.Addr().String()).Start(t.Context(), peer())
	if e, ok := errors.AsType[*core.Error](err); !ok || e.Class != core.Temporary || !strings.Contains(e.Hint, "KDC") {
		t.Errorf("got %v", err)
	}
}

// The library knows no contexts: the caller is free when its own ends.
func TestKDC_thatSaysNothing(t *testing.T) {
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		cancel()
		<-t.Context().Done() // before the cleanup
		_ = conn.Close()
	}()
	t.Cleanup(func() { <-ended })
	_, _, err := withKDC(t, l.Addr().String()).Start(ctx, peer())
	if !errors.Is(err, context.Canceled) || core.ClassOf(err) != core.Temporary {
		t.Errorf("got %v", err)
	}
}

func TestKDC_thatSaysNonsense(t *testing.T) {
	for rule, answer := range map[string]string{
		"nothing at all": "",
		"a length alone": "\x00\x00\x00\x05",
		"no octets":      "\x00\x00\x00\x00",
		"something else": "\x00\x00\x00\x05hello",
		"an empty reply": "\x00\x00\x00\x02\x6b\x00",
	} {
		t.Run(rule, func(t *testing.T) {
			l := listen(t)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = conn.Write([]byte(answer))
					_ = conn.Close()
				}
			}()
			a, initial, err := withKDC(t, l.Addr().String()).Start(t.Context(), peer())
			if a != nil || initial != nil || err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, %q, %v", a, initial, err)
			}
			_ = l.Close()
			<-ended
		})
	}
}

// While kinit writes a credential cache it is cut off, and the library panics.
// That is an error, and the next run may go well.
func TestCCache_thatIsBroken(t *testing.T) {
	folder := t.TempDir()
	conf, cache := filepath.Join(folder, "krb5.conf"), filepath.Join(folder, "cache")
	for path, content := range map[string]string{conf: "[libdefaults]\ndefault_realm = EXAMPLE.TEST\n", cache: ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := gssapi.CCache(cache, gssapi.Config{Krb5Conf: conf}).Start(t.Context(), peer())
	if _, ok := errors.AsType[*core.PanicError](err); !ok || core.ClassOf(err) != core.Temporary {
		t.Errorf("got class %v: %v", core.ClassOf(err), err)
	}
}

func TestServerWithoutName(t *testing.T) {
	if _, _, err := gssapi.Password("alice", "hunter2", gssapi.Config{}).Start(t.Context(), &core.Peer{}); err == nil || !strings.Contains(err.Error(), "Config.SPN") {
		t.Errorf("got %v", err)
	}
}

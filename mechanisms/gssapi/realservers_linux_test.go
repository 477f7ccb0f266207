package gssapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms/gssapi"
)

// send sends a message with a client of its own.
func send(ctx context.Context, config core.Config) error {
	client, err := core.NewClient(config)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Send(ctx, &core.Message{
		From: "alice@example.test",
		To:   core.Recipients("bob@example.net"),
		Body: core.String("Subject: a test\r\n\r\nIt is one.\r\n"),
	})
	return err
}

// MIT Kerberos and Dovecot take what the mechanism says, with each type of key,
// and the message arrives.
func TestRealServers_takeTheMechanism(t *testing.T) {
	for _, keys := range []string{"aes128-cts-hmac-sha1-96", "aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha256-128", "aes256-cts-hmac-sha384-192"} {
		t.Run(keys, func(t *testing.T) {
			r := startRealm(t, keys)
			r.run(t, "sesame\n", "kinit", "-c", r.path("cache"), "alice")
			conf := gssapi.Config{Krb5Conf: r.path("krb5.conf")}
			identity := conf
			identity.Identity = "alice@EXAMPLE.TEST"
			for n, tt := range []struct {
				rule      string
				mechanism core.Mechanism
			}{
				{"a password", gssapi.Password("alice", "sesame", conf)},
				{"a realm is given", gssapi.Password("alice@EXAMPLE.TEST", "sesame", conf)},
				{"a user without pre-authentication", gssapi.Password("trusting", "sesame", conf)},
				{"a keytab", gssapi.Keytab("alice", r.path("alice.keytab"), conf)},
				{"a credential cache", gssapi.CCache("FILE:"+r.path("cache"), conf)},
				{"an identity", gssapi.Password("alice", "sesame", identity)},
			} {
				t.Run(tt.rule, func(t *testing.T) {
					if err := send(t.Context(), r.config(tt.mechanism)); err != nil {
						t.Fatal(err)
					}
					if got := len(r.relay.Messages()); got != n+1 {
						t.Errorf("%d messages have arrived, want %d", got, n+1)
					}
				})
			}
		})
	}
}

func TestRealServers_refuse(t *testing.T) {
	r := startRealm(t, "aes256-cts-hmac-sha1-96")
	conf := func(c gssapi.Config) gssapi.Config {
		c.Krb5Conf = r.path("krb5.conf")
		return c
	}
	own := conf(gssapi.Config{})
	for _, tt := range []struct {
		rule      string
		mechanism core.Mechanism
		class     core.Class
		kind      error  // or nil
		says      string // in the error or its hint
	}{
		{"a wrong password", gssapi.Password("alice", "hunter2", own), core.Permanent, core.ErrCredentials, "KDC_ERR_PREAUTH_FAILED"},
		{"a wrong password without pre-authentication", gssapi.Password("trusting", "hunter2", own), core.Permanent, core.ErrCredentials, "check the password"},
		{"a user that there is not", gssapi.Password("bob", "hunter2", own), core.Permanent, core.ErrCredentials, "KDC_ERR_C_PRINCIPAL_UNKNOWN"},
		{"a realm that there is not", gssapi.Password("alice@ELSEWHERE.TEST", "hunter2", own), core.Temporary, nil, "no KDCs defined in configuration for realm ELSEWHERE.TEST"},
		{"a keytab of somebody else", gssapi.Keytab("bob", r.path("alice.keytab"), own), core.Permanent, core.ErrCredentials, "check the user"},
		{"a keytab without the user's key", gssapi.Keytab("trusting@EXAMPLE.TEST", r.path("smtp.keytab"), own), core.Local, nil, "keytab"},
		{"a keytab that there is not", gssapi.Keytab("alice", r.path("none"), own), core.Local, nil, "reading the keytab"},
		{"a keytab that is none", gssapi.Keytab("alice", r.path("krb5.conf"), own), core.Local, nil, "reading the keytab"},
		{"a credential cache that there is not", gssapi.CCache(r.path("none"), own), core.Local, nil, "reading the credential cache"},
		{"a configuration that there is not", gssapi.Password("alice", "hunter2", gssapi.Config{Krb5Conf: r.path("none")}), core.Local, nil, "reading the configuration"},
		{"a principal that the KDC does not know", gssapi.Password("alice", "sesame", conf(gssapi.Config{SPN: "smtp/elsewhere.example.test"})), core.Permanent, nil, "set Config.SPN"},
		{"a principal whose key the server does not have", gssapi.Password("alice", "sesame", conf(gssapi.Config{SPN: "imap/localhost"})), core.Permanent, core.ErrCredentials, "535"},
		{"another identity", gssapi.Password("alice", "sesame", conf(gssapi.Config{Identity: "bob"})), core.Permanent, core.ErrCredentials, "535"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			err := send(t.Context(), r.config(tt.mechanism))
			if err == nil || core.ClassOf(err) != tt.class || tt.kind != nil && !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got class %v, want %v: %v", core.ClassOf(err), tt.class, err)
			}
			if tt.kind == core.ErrCredentials && !errors.Is(err, core.ErrAuthentication) {
				t.Errorf("it is not of the kind ErrAuthentication: %v", err)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	if n := len(r.relay.Messages()); n > 0 {
		t.Errorf("%d messages have arrived", n)
	}
}

// A credential cache is used until its tickets have expired, and then the hint
// says what to do.
func TestRealServers_expiredCache(t *testing.T) {
	r := startRealm(t, "aes256-cts-hmac-sha1-96")
	r.run(t, "sesame\n", "kinit", "-l", "1s", "-c", r.path("cache"), "alice")
	m := gssapi.CCache(r.path("cache"), gssapi.Config{Krb5Conf: r.path("krb5.conf")})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	for err == nil {
		err = send(ctx, r.config(m))
	}
	if core.ClassOf(err) != core.Local || !strings.Contains(err.Error(), "call kinit") {
		t.Errorf("got class %v: %v", core.ClassOf(err), err)
	}
}

// One mechanism is used by many sessions at once.
func TestRealServers_manySessions(t *testing.T) {
	r := startRealm(t, "aes256-cts-hmac-sha1-96")
	m := gssapi.Keytab("alice", r.path("alice.keytab"), gssapi.Config{Krb5Conf: r.path("krb5.conf")})
	var sessions sync.WaitGroup
	for range 8 {
		sessions.Go(func() {
			if err := send(t.Context(), r.config(m)); err != nil {
				t.Error(err)
			}
		})
	}
	sessions.Wait()
	if n := len(r.relay.Messages()); n != 8 {
		t.Errorf("%d messages have arrived, want 8", n)
	}
}

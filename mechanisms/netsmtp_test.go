package mechanisms_test

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net/smtp"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// An Auth that an application has already can be used as it is.
func ExampleFromNetSMTP() {
	m := mechanisms.FromNetSMTP("PLAIN", func(peer *core.Peer) smtp.Auth {
		return smtp.PlainAuth("", "alice@example.com", "open sesame", peer.ServerName)
	})
	fmt.Println(m)

	// Output:
	// PLAIN
}

// netAuth is an Auth of a test's own.
type netAuth struct {
	start func(*smtp.ServerInfo) (string, []byte, error)
	next  func(fromServer []byte, more bool) ([]byte, error)
}

func (a netAuth) Start(server *smtp.ServerInfo) (string, []byte, error) { return a.start(server) }
func (a netAuth) Next(fromServer []byte, more bool) ([]byte, error)     { return a.next(fromServer, more) }

// The Auths of net/smtp, and some as they are written for it, in a session.
func TestFromNetSMTP_dialogue(t *testing.T) {
	no := errors.New("no")
	begin := func(name string, initial []byte) func(*smtp.ServerInfo) (string, []byte, error) {
		return func(*smtp.ServerInfo) (string, []byte, error) { return name, initial, nil }
	}
	login := func(*core.Peer) smtp.Auth { // the one that is copied from page to page
		return netAuth{begin("LOGIN", []byte{}), func(fromServer []byte, more bool) ([]byte, error) {
			switch {
			case !more:
				return nil, nil
			case string(fromServer) == "Username:":
				return []byte("u"), nil
			case string(fromServer) == "Password:":
				return []byte("p"), nil
			}
			return nil, no
		}}
	}
	const challenge, response = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+", "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
	for _, tt := range []struct {
		rule     string
		name     string
		auth     func(*core.Peer) smtp.Auth
		dialogue string
		kind     error
	}{
		{"CRAM-MD5 (RFC 2195 §2)", "CRAM-MD5", func(*core.Peer) smtp.Auth { return smtp.CRAMMD5Auth("tim", "tanstaaftanstaaf") }, "C: AUTH CRAM-MD5\nS: 334 " + challenge + "\nC: " + response + "\nS: 235 ok", nil},
		{"an initial response of no octets is none, as in net/smtp", "LOGIN", login, "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 ok", nil},
		{"a name in lower case is meant", "login", login, "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 ok", nil},
		{"an error of Next cancels", "LOGIN", login, "C: AUTH LOGIN\nS: 334 aGk=\nC: *\nS: 501 ok", no},
		{"a refusal is the session's", "LOGIN", login, "C: AUTH LOGIN\nS: 535 no", core.ErrCredentials},
		{"after success Next is called without more", "X-OWN", func(*core.Peer) smtp.Auth {
			return netAuth{begin("X-OWN", []byte("x")), func(_ []byte, more bool) ([]byte, error) {
				if !more {
					return nil, no
				}
				return nil, nil
			}}
		}, "C: AUTH X-OWN eA==\nS: 235 ok\nHANG", no},
		{"an error of Start writes nothing", "X-OWN", func(*core.Peer) smtp.Auth {
			return netAuth{start: func(*smtp.ServerInfo) (string, []byte, error) { return "", nil, no }}
		}, "", no},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := mechanisms.FromNetSMTP(tt.name, tt.auth)
			for range 2 { // it can be used again
				if err := auth(t, m, tt.dialogue); !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
					t.Error(err)
				}
			}
		})
	}
}

// PlainAuth has rules of its own, which a session satisfies or hears of.
func TestFromNetSMTP_PlainAuth(t *testing.T) {
	plain := func(host, password string) core.Mechanism {
		return mechanisms.FromNetSMTP("PLAIN", func(peer *core.Peer) smtp.Auth {
			return smtp.PlainAuth("", "u", password, cmp.Or(host, peer.ServerName))
		})
	}
	for _, tt := range []struct {
		rule           string
		tls            bool
		host, password string
		err            string
	}{
		{"in TLS", true, "", "p", ""},
		{"on this machine", false, "", "p", ""},
		{"a wrong password is refused by the server", true, "", "q", "535"},
		{"another host is refused by PlainAuth", true, "mail.example.com", "p", "wrong host name"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			server := smtptest.NewServer(t, smtptest.ServerOptions{ImplicitTLS: tt.tls, Users: map[string]string{"u": "p"}, RequireAuth: true})
			config := server.Config()
			config.Auth = []core.Mechanism{plain(tt.host, tt.password)}
			client, err := core.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_, err = client.Send(t.Context(), &core.Message{From: "a@example.com", To: core.Recipients("b@example.com"), Body: core.String("Subject: x\r\n\r\nx\r\n")})
			if tt.err == "" {
				if messages := server.Messages(); err != nil || len(messages) != 1 || messages[0].User != "u" {
					t.Error(err, messages)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
		})
	}
	t.Run("E1 the session refuses first in clear text", func(t *testing.T) {
		choice, err := core.ChooseMechanism(core.Config{Auth: []core.Mechanism{plain("", "p")}}, peerOffering(t, "PLAIN"))
		if err != nil || !errors.Is(choice.Candidates[0].Err, core.ErrTLSRequired) {
			t.Error(choice, err)
		}
	})
}

func TestFromNetSMTP_serverInfo(t *testing.T) {
	offering := peerOffering(t, "PLAIN X-OWN")
	secure, unverified := *offering, *offering
	secure.TLS = &tls.ConnectionState{}
	unverified.TLS, unverified.TLSError = &tls.ConnectionState{}, errors.New("no")
	for rule, tt := range map[string]struct {
		peer core.Peer
		tls  bool
	}{
		"clear text": {*offering, false},
		"TLS":        {secure, true},
		"TLS with a certificate that does not verify": {unverified, false},
	} {
		t.Run(rule, func(t *testing.T) {
			var got smtp.ServerInfo
			m := mechanisms.FromNetSMTP("X-OWN", func(*core.Peer) smtp.Auth {
				return netAuth{start: func(server *smtp.ServerInfo) (string, []byte, error) {
					got = *server
					return "X-OWN", nil, nil
				}}
			})
			if _, _, err := m.Start(t.Context(), &tt.peer); err != nil {
				t.Fatal(err)
			}
			if want := (smtp.ServerInfo{Name: offering.ServerName, TLS: tt.tls, Auth: []string{"PLAIN", "X-OWN"}}); got.Name == "" || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestFromNetSMTP_mistakes(t *testing.T) {
	for text, m := range map[string]core.Mechanism{
		"the function given to mechanisms.FromNetSMTP is nil": mechanisms.FromNetSMTP("PLAIN", nil),
		"returned nil":                   mechanisms.FromNetSMTP("PLAIN", func(*core.Peer) smtp.Auth { return nil }),
		`as PLAIN is one for "CRAM-MD5"`: mechanisms.FromNetSMTP("PLAIN", func(*core.Peer) smtp.Auth { return smtp.CRAMMD5Auth("u", "open-sesame") }),
	} {
		_, _, err := m.Start(t.Context(), &core.Peer{})
		if err == nil || !strings.Contains(err.Error(), text) || core.ClassOf(err) != core.Local {
			t.Errorf("%v, want %q", err, text)
		}
		showsNoSecret(t, err)
	}
	if err := mechanisms.FromNetSMTP("PLAIN", nil).(core.Checker).Check(); err == nil {
		t.Error("a nil function passes")
	}
}

func TestFromNetSMTP_isPrintedWithoutItsSecret_E13(t *testing.T) {
	m := mechanisms.FromNetSMTP("CRAM-MD5", func(*core.Peer) smtp.Auth { return smtp.CRAMMD5Auth("u", "open-sesame") })
	run, _, err := m.Start(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	showsNoSecret(t, m, run, mechanisms.KeepingSecret(m))
}

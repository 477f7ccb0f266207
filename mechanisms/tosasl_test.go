package mechanisms_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// converse has a client and a server of go-sasl talk to each other.
func converse(client sasl.Client, server sasl.Server) error {
	_, response, err := client.Start()
	if err != nil {
		return err
	}
	for range 10 {
		challenge, done, err := server.Next(response)
		if err != nil || done {
			return err
		}
		if response, err = client.Next(challenge); err != nil {
			return err
		}
	}
	return errors.New("no end")
}

var local = &core.Peer{Local: true}

// Ours against the servers of go-sasl.
func TestToSASL_servers(t *testing.T) {
	wrong := errors.New("wrong")
	is := func(got, want string) error {
		if got != want {
			return fmt.Errorf("%w: %q", wrong, got)
		}
		return nil
	}
	plain := func() sasl.Server {
		return sasl.NewPlainServer(func(identity, user, password string) error {
			return is(identity+"/"+user+"/"+password, "/u/p")
		})
	}
	bearer := func() sasl.Server {
		return sasl.NewOAuthBearerServer(func(o sasl.OAuthBearerOptions) *sasl.OAuthBearerError {
			if o.Username != "u" || o.Token != "token" {
				return &sasl.OAuthBearerError{Status: "invalid_token"}
			}
			return nil
		})
	}
	for _, tt := range []struct {
		rule   string
		m      core.Mechanism
		server func() sasl.Server
		fails  bool
	}{
		{"PLAIN", mechanisms.Plain("u", "p"), plain, false},
		{"PLAIN with a wrong password", mechanisms.Plain("u", "q"), plain, true},
		{"PLAIN without an initial response", mechanisms.WithoutInitialResponse(mechanisms.Plain("u", "p")), plain, false},
		{"PLAIN of a source", mechanisms.From(mechanisms.Static("u", "p"), mechanisms.Plain), plain, false},
		{"ANONYMOUS", mechanisms.Anonymous("a@example.com"), func() sasl.Server {
			return sasl.NewAnonymousServer(func(trace string) error { return is(trace, "a@example.com") })
		}, false},
		{"OAUTHBEARER", mechanisms.OAuthBearer("u", mechanisms.StaticToken("token")), bearer, false},
		{"OAUTHBEARER with a wrong token", mechanisms.OAuthBearer("u", mechanisms.StaticToken("other")), bearer, true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			ours := mechanisms.ToSASL(t.Context(), tt.m, local)
			for range 2 { // each Start begins anew
				if err := converse(ours, tt.server()); (err != nil) != tt.fails {
					t.Error(err)
				}
			}
		})
	}
	t.Run("and back: ours as a client of go-sasl as one of ours", func(t *testing.T) {
		m := mechanisms.FromSASL("PLAIN", func(peer *core.Peer) (sasl.Client, error) {
			return mechanisms.ToSASL(t.Context(), mechanisms.Plain("u", "p"), peer), nil
		})
		if err := auth(t, m, authPlain("p")+"S: 235 ok"); err != nil {
			t.Error(err)
		}
	})
}

// Ours in the client of go-smtp, against a server with these dialogues.
func TestToSASL_goSMTP(t *testing.T) {
	challenges := func(list ...string) smtptest.AuthFunc { // each answered, and then success
		return func(responses [][]byte) smtptest.AuthStep {
			if responses[0] == nil {
				responses = responses[1:]
			}
			if len(responses) < len(list) {
				return smtptest.AuthStep{Challenge: []byte(list[len(responses)])}
			}
			var said []string
			for _, r := range responses {
				said = append(said, string(r))
			}
			return smtptest.AuthStep{User: strings.Join(said, "|")}
		}
	}
	server := smtptest.NewServer(t, smtptest.ServerOptions{
		RequireAuth: true,
		Users:       map[string]string{"u": "p"},
		Mechanisms: map[string]smtptest.AuthFunc{
			"LOGIN":    challenges("", "Password:"),
			"CRAM-MD5": challenges("<1896.697170952@postoffice.reston.mci.net>"),
			"X-EMPTY":  challenges("one", "two"),
		},
	})
	silent := mechanisms.Func("X-EMPTY", func(_ context.Context, challenge []byte) ([]byte, error) { return nil, nil })
	for _, tt := range []struct {
		rule string
		m    core.Mechanism
		user string // whom the server takes the client for; "" if it refuses
	}{
		{"PLAIN", mechanisms.Plain("u", "p"), "u"},
		{"PLAIN with a wrong password", mechanisms.Plain("u", "q"), ""},
		{"LOGIN", mechanisms.Login("u", "p"), "u|p"},
		{"CRAM-MD5 (RFC 2195 §2)", mechanisms.CRAMMD5("tim", "tanstaaftanstaaf"), "tim b913a602c7eda7a495b4e6e7334d3890"},
		{"a response of no octets is not the end", silent, "|"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c, err := smtp.Dial(strings.TrimPrefix(server.URL(), "smtp://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Auth(mechanisms.ToSASL(t.Context(), tt.m, local)); (err != nil) != (tt.user == "") {
				t.Fatal(err)
			}
			if tt.user == "" {
				return
			}
			if err := c.SendMail("a@example.com", []string{"b@example.com"}, strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
				t.Fatal(err)
			}
			if messages := server.Messages(); messages[len(messages)-1].User != tt.user {
				t.Errorf("the server took it for %q, want %q", messages[len(messages)-1].User, tt.user)
			}
		})
	}
}

// SCRAM's last word is a challenge over SMTP; where a server leaves it out, Done
// notices. The octets are those of RFC 5802 §5.
func TestToSASL_SCRAM(t *testing.T) {
	const first, last = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="
	for _, tt := range []struct {
		rule       string
		challenges []string
		next, done bool // whether it is satisfied
	}{
		{"the server's signature is answered with nothing, which is a response", []string{first, last}, true, true},
		{"a wrong signature is an error of Next", []string{first, "v=AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, false, false},
		{"success without it is an error of Done", []string{first}, true, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			c := mechanisms.ToSASL(t.Context(), mechanisms.WithNonce(mechanisms.SCRAMSHA1("user", "pencil"), "fyko+d2lbbFgONRv9qkxdawL"), nil)
			if name, initial, err := c.Start(); err != nil || name != "SCRAM-SHA-1" || string(initial) != "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL" {
				t.Fatal(name, string(initial), err)
			}
			var err error
			for _, challenge := range tt.challenges {
				var response []byte
				if response, err = c.Next([]byte(challenge)); err == nil && response == nil {
					t.Error("go-smtp takes that for success")
				}
			}
			if (err == nil) != tt.next {
				t.Error("Next:", err)
			}
			if err := c.(interface{ Done() error }).Done(); (err == nil) != tt.done {
				t.Error("Done:", err)
			}
		})
	}
}

func TestToSASL_start(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waits := mechanisms.From(func(ctx context.Context) (string, string, error) {
		<-ctx.Done()
		return "", "", ctx.Err()
	}, mechanisms.Plain)
	verified, unverified := &core.Peer{TLS: &tls.ConnectionState{}}, &core.Peer{TLS: &tls.ConnectionState{}, TLSError: errors.New("no")}
	for _, tt := range []struct {
		rule string
		ctx  context.Context
		m    core.Mechanism
		peer *core.Peer
		kind error
	}{
		{"E1 a reusable secret is not shown to a server that is not known", t.Context(), mechanisms.Plain("u", "p"), nil, core.ErrTLSRequired},
		{"E1 nor to one in clear text", t.Context(), mechanisms.Plain("u", "p"), &core.Peer{}, core.ErrTLSRequired},
		{"E1 nor to one whose certificate does not verify", t.Context(), mechanisms.Plain("u", "p"), unverified, core.ErrTLSRequired},
		{"it is to one whose certificate does", t.Context(), mechanisms.Plain("u", "p"), verified, nil},
		{"and to one on this machine", t.Context(), mechanisms.Plain("u", "p"), local, nil},
		{"a mechanism that shows none needs no TLS", t.Context(), mechanisms.CRAMMD5("u", "p"), nil, nil},
		{"the context is the mechanism's", ctx, waits, local, context.Canceled},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if _, _, err := mechanisms.ToSASL(tt.ctx, tt.m, tt.peer).Start(); !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
				t.Error(err)
			}
		})
	}
	for rule, m := range map[string]core.Mechanism{
		"the user name is empty":        mechanisms.Plain("", "p"),
		"mechanism SCRAM-SHA-256-PLUS:": mechanisms.SCRAMSHA256Plus("u", "p"), // wants TLS
		"started nothing":               nothing{mechanisms.CRAMMD5("u", "p")},
	} {
		if _, _, err := mechanisms.ToSASL(t.Context(), m, local).Start(); err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%v, want %q", err, rule)
		}
	}
	before := mechanisms.ToSASL(t.Context(), mechanisms.Plain("u", "p"), local)
	if _, err := before.Next(nil); err == nil || before.(interface{ Done() error }).Done() == nil {
		t.Error("it went on without Start")
	}
	source := passwords{list: []string{"p"}, errs: map[int]error{2: errors.New("no")}}
	after := mechanisms.ToSASL(t.Context(), mechanisms.From(source.credentials, mechanisms.Login), local)
	if _, _, err := after.Start(); err != nil {
		t.Error(err)
	}
	if _, _, err := after.Start(); err == nil {
		t.Error("the second Start did not fail")
	}
	if _, err := after.Next(nil); err == nil {
		t.Error("it went on with what an earlier Start began")
	}
}

// nothing is a mechanism that starts nothing.
type nothing struct{ core.Mechanism }

func (nothing) KeepsSecret() bool { return true }
func (nothing) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, nil
}

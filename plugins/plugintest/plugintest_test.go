package plugintest_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/mechanisms/mechanismtest"
	"github.com/postrider/postrider/plugins"
	"github.com/postrider/postrider/plugins/plugintest"
	"github.com/postrider/postrider/plugins/sdk"
	"github.com/postrider/postrider/transport"
)

// The test binary is also the plugin.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_PLUGIN") != "" {
		sdk.Serve(sdk.Info("sample", "1"), sdk.Mechanism(pass{}), sdk.Mechanism(mechanisms.Plain("ann", secret)),
			sdk.Signer("ed25519", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))),
			sdk.Interceptor("policy", newPolicy()))
	}
	goleak.VerifyTestMain(m)
}

const secret = "shown on purpose"

// pass is a mechanism by which both sides prove to each other that they know a key.
type pass struct{}

func (pass) Name() string      { return "X-PASS" }
func (pass) KeepsSecret() bool { return true }

func (pass) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	nonce := rand.Text()
	return &passing{nonce: nonce}, []byte(nonce), nil
}

type passing struct {
	nonce            string
	answered, proven bool
}

func (p *passing) Next(_ context.Context, challenge []byte) ([]byte, error) {
	switch {
	case !p.answered && strings.HasPrefix(string(challenge), "nonce "):
		p.answered = true
		return []byte(mac(p.nonce + string(challenge))), nil
	case p.answered && !p.proven && string(challenge) == mac(p.nonce):
		p.proven = true
		return nil, nil
	}
	return nil, errors.New("the server does not know the key")
}

func (p *passing) Done(context.Context) error {
	if !p.proven {
		return errors.New("the server has not proved that it knows the key")
	}
	return nil
}

func mac(text string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// verify is the server's side.
func verify(responses [][]byte) smtptest.AuthStep {
	nonce := string(responses[0])
	switch len(responses) {
	case 1:
		return smtptest.AuthStep{Challenge: []byte("nonce 1")}
	case 2:
		if string(responses[1]) == mac(nonce+"nonce 1") {
			return smtptest.AuthStep{Challenge: []byte(mac(nonce))}
		}
		return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 wrong key")}
	}
	return smtptest.AuthStep{User: "ann"}
}

// The rules that every mechanism keeps, through the wire protocol.
func TestMechanism(t *testing.T) {
	mechanismtest.Run(t, mechanismtest.Config{
		New:          func(t testing.TB) core.Mechanism { return plugintest.Mechanism(t, pass{}) },
		Server:       smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"X-PASS": verify}},
		Secrets:      []string{secret},
		ProvesServer: true,
		Blocked: func(t testing.TB) core.Mechanism {
			return plugintest.Mechanism(t, mechanisms.Func("X-PASS", func(ctx context.Context, _ []byte) ([]byte, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}))
		},
	})
}

// Mechanisms that know nothing of plugins.
func TestMechanism_ofPackageMechanisms(t *testing.T) {
	for _, tt := range []struct {
		mechanism core.Mechanism
		server    smtptest.ServerOptions
		vectors   []mechanismtest.Vector
		proves    bool
	}{
		{mechanism: mechanisms.Plain("ann", secret), vectors: []mechanismtest.Vector{{Name: "RFC 4616 §2", Initial: []byte("\x00ann\x00" + secret)}}},
		{mechanism: mechanisms.SCRAMSHA256("ann", secret), proves: true},
		// Bound to the certificate: the keys of TLS are not in the plugin.
		{mechanism: mechanisms.SCRAMSHA256Plus("ann", secret), proves: true},
		{
			mechanism: mechanisms.External(""), vectors: []mechanismtest.Vector{{Name: "an empty initial response", Initial: []byte{}}},
			server: smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"EXTERNAL": func([][]byte) smtptest.AuthStep {
				return smtptest.AuthStep{User: "ann"}
			}}},
		},
		{
			mechanism: mechanisms.WithoutInitialResponse(mechanisms.Plain("ann", secret)),
			vectors:   []mechanismtest.Vector{{Name: "no initial response", Rounds: []mechanismtest.Round{{Challenge: []byte{}, Response: []byte("\x00ann\x00" + secret)}}}},
		},
	} {
		t.Run(tt.mechanism.Name(), func(t *testing.T) {
			if tt.server.Mechanisms == nil {
				tt.server = smtptest.ServerOptions{StartTLS: true, Users: map[string]string{"ann": secret}}
			}
			if tt.proves {
				tt.server.SCRAM = []string{tt.mechanism.Name()}
			}
			mechanismtest.Run(t, mechanismtest.Config{
				New:     func(t testing.TB) core.Mechanism { return plugintest.Mechanism(t, tt.mechanism) },
				Server:  tt.server,
				Secrets: []string{secret},
				Vectors: tt.vectors, ProvesServer: tt.proves,
			})
		})
	}
}

// A token that is refused is replaced by another one, on the same session.
func TestMechanism_otherCredentialsAfterARefusal(t *testing.T) {
	const old, fresh = "old-token", "fresh-token"
	var refused []string
	tokens := func(_ context.Context, bad string) (*oauth2.Token, error) {
		if bad == "" {
			return &oauth2.Token{AccessToken: old}, nil
		}
		refused = append(refused, bad)
		return &oauth2.Token{AccessToken: fresh, Expiry: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)}, nil
	}
	server := smtptest.NewServer(t, smtptest.ServerOptions{RequireAuth: true, Mechanisms: map[string]smtptest.AuthFunc{
		"OAUTHBEARER": func(responses [][]byte) smtptest.AuthStep {
			switch {
			case strings.Contains(string(responses[0]), fresh):
				return smtptest.AuthStep{User: "ann"}
			case len(responses) == 1:
				return smtptest.AuthStep{Challenge: []byte(`{"status":"invalid_token"}`)}
			}
			return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 no such token")}
		},
	}})
	m := plugintest.Mechanism(t, mechanisms.OAuthBearer("ann", tokens))
	client, err := core.NewClient(core.Config{Endpoint: server.URL(), Transports: transport.Standard(), Auth: []core.Mechanism{m}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.Send(t.Context(), &core.Message{From: "ann@example.com", To: core.Recipients("bob@example.net"), Body: core.String("Subject: hi\r\n\r\nhi\r\n")}); err != nil {
		t.Error(err)
	}
	if len(refused) != 1 || refused[0] != old || server.Messages()[0].Connection != 1 {
		t.Errorf("refused %q, connection %d", refused, server.Messages()[0].Connection)
	}
	if _, err := client.Send(t.Context(), &core.Message{From: "ann@example.com", To: core.Recipients("bob@example.net"), Body: core.String("Subject: hi\r\n\r\nhi\r\n")}); err != nil {
		t.Error(err)
	}
}

// What a mechanism says of a refusal is not lost.
func TestMechanism_whatItMakesOfARefusal(t *testing.T) {
	m := plugintest.Mechanism(t, mechanisms.OAuthBearer("ann", mechanisms.StaticToken("old-token")))
	a, _, err := m.Start(t.Context(), &core.Peer{ServerName: "server.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Next(t.Context(), []byte(`{"status":"invalid_token"}`)); err != nil {
		t.Fatal(err)
	}
	refusal := &core.Error{
		Stage: core.StageAuth, Class: core.Permanent, Err: core.ErrCredentials,
		Reply: core.Reply{Code: 535, Enhanced: core.EnhancedCode{5, 7, 8}, Text: "5.7.8 no"},
	}
	other := a.(core.RefusalHandler).Refused(t.Context(), refusal)
	if other != nil || !errors.Is(refusal, core.ErrCredentials) || !strings.Contains(refusal.Error(), `the token is refused, status "invalid_token"`) || refusal.Hint == "" {
		t.Errorf("%v, %v", other, refusal)
	}
}

// What a peer has in a plugin, and what it has not.
func TestMechanism_peer(t *testing.T) {
	server := smtptest.NewServer(t, smtptest.ServerOptions{StartTLS: true, Mechanisms: map[string]smtptest.AuthFunc{
		"X-SEES": func([][]byte) smtptest.AuthStep { return smtptest.AuthStep{User: "ann"} },
	}})
	seen := &sees{}
	config := server.Config()
	config.Auth = []core.Mechanism{plugintest.Mechanism(t, seen)}
	session, err := core.Dial(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	for _, step := range []func(context.Context) error{session.Hello, session.StartTLS, session.Hello} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	peer := session.Peer()
	if err := session.Auth(t.Context(), config.Auth[0]); err != nil {
		t.Fatal(err)
	}
	got := seen.peer
	exporter, err := peer.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32) // RFC 9266 §2
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case got.ServerName != peer.ServerName || got.Domain != peer.Domain || got.Local != peer.Local || got.Protocol != core.SMTP:
		t.Errorf("%+v, and the host has %+v", got, peer)
	case got.TLS.Version != peer.TLS.Version || !got.TLS.PeerCertificates[0].Equal(peer.TLS.PeerCertificates[0]) || got.TLSError != nil:
		t.Errorf("%+v", got.TLS)
	case got.TLS.HandshakeComplete:
		t.Error("it looks as if there were keys")
	case strings.Join(seen.session.Offered, " ") != strings.Join(peer.Extensions.Mechanisms(), " "):
		t.Errorf("%v is offered", seen.session.Offered)
	case string(seen.session.TLSExporter) != string(exporter):
		t.Error("the data of tls-exporter are others")
	case strings.ContainsAny(strings.TrimPrefix(got.Endpoint, "smtp://"), "/?@"):
		t.Errorf("the URL is %s", got.Endpoint)
	}
}

// sees is a mechanism that keeps what it sees.
type sees struct {
	peer    *core.Peer
	session sdk.Session
}

func (*sees) Name() string { return "X-SEES" }

func (s *sees) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	s.peer = peer
	s.session, _ = sdk.SessionOf(ctx)
	return seeing{}, []byte{}, nil
}

type seeing struct{}

func (seeing) Next(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("unexpected challenge")
}
func (seeing) Done(context.Context) error { return nil }

func TestSigner(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("hello"))
	for _, key := range []crypto.Signer{small, curve, edwards} {
		remote := plugintest.Signer(t, key)
		public := remote.Public().(interface{ Equal(crypto.PublicKey) bool })
		if !public.Equal(key.Public()) {
			t.Errorf("%T: another public key", key)
		}
		var options crypto.SignerOpts = crypto.SHA256
		if _, ok := key.(ed25519.PrivateKey); ok {
			options = crypto.Hash(0)
		}
		signature, err := remote.Sign(nil, digest[:], options)
		if err != nil {
			t.Fatal(err)
		}
		ok := false
		switch public := remote.Public().(type) {
		case *rsa.PublicKey:
			ok = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
		case *ecdsa.PublicKey:
			ok = ecdsa.VerifyASN1(public, digest[:], signature)
		case ed25519.PublicKey:
			ok = ed25519.Verify(public, digest[:], signature)
		}
		if !ok {
			t.Errorf("%T: the signature is wrong", key)
		}
		if _, err := remote.Sign(nil, digest[:5], crypto.SHA256); err == nil {
			t.Errorf("%T: 5 octets are signed as a digest", key)
		}
		if _, err := remote.Sign(nil, digest[:], crypto.MD5); err == nil {
			t.Errorf("%T: MD5 is used", key)
		}
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	signature, err := plugintest.Signer(t, small).Sign(nil, digest[:], pss)
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPSS(&small.PublicKey, crypto.SHA256, digest[:], signature, pss); err != nil {
		t.Error(err)
	}
}

// The kit, on a real process.
func TestRun(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plugintest.Run(t, plugintest.Config{
		Plugin: plugins.Config{Path: self, Env: []string{"TEST_PLUGIN=sample"}, Name: "sample"},
		Mechanisms: map[string]mechanismtest.Config{
			"X-PASS": {
				Server:       smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"X-PASS": verify}},
				Secrets:      []string{secret},
				ProvesServer: true,
			},
		},
	})
}

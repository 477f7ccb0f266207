package mechanismtest

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

const secret = "shown on purpose"

// sample is a mechanism that keeps all the rules: both sides prove to each other
// that they know a key.
//
//	C: the client's nonce
//	S: the server's nonce
//	C: MAC of both nonces
//	S: MAC of the client's nonce
//	C:
//
// It breaks a rule by one of its functions, which are nil otherwise.
type sample struct {
	key   func() string
	nonce string // at random if it is ""

	name     func() string
	starting func(ctx context.Context, r *sampleRun) error
	next     func(ctx context.Context, r *sampleRun, challenge []byte) ([]byte, error)
	done     func(r *sampleRun) error
	refused  func(*core.Error) core.Mechanism
}

func newSample() *sample { return &sample{key: func() string { return secret }} }

func mac(key, text string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

func (s *sample) Name() string {
	if s.name != nil {
		return s.name()
	}
	return "X-SAMPLE"
}

func (s *sample) String() string { return s.Name() }

func (*sample) KeepsSecret() bool { return true }

func (s *sample) Start(ctx context.Context, _ *core.Peer) (core.Authentication, []byte, error) {
	r := &sampleRun{sample: s, nonce: cmp.Or(s.nonce, rand.Text())}
	if s.starting != nil {
		if err := s.starting(ctx, r); err != nil {
			return nil, nil, err
		}
	}
	return r, []byte(r.nonce), nil
}

type sampleRun struct {
	*sample
	nonce            string
	answered, proven bool
}

func (r *sampleRun) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	if r.sample.next != nil {
		return r.sample.next(ctx, r, challenge)
	}
	return r.respond(challenge)
}

func (r *sampleRun) respond(challenge []byte) ([]byte, error) {
	switch {
	case r.proven:
		return nil, errors.New("unexpected challenge")
	case r.answered && string(challenge) != mac(r.key(), r.nonce):
		return nil, errors.New("the server does not know the key")
	case r.answered:
		r.proven = true
		return nil, nil
	case !strings.HasPrefix(string(challenge), "nonce "):
		return nil, errors.New("the challenge is not a nonce")
	}
	r.answered = true
	return []byte(mac(r.key(), r.nonce+string(challenge))), nil
}

func (r *sampleRun) Done(context.Context) error {
	switch {
	case r.sample.done != nil:
		return r.sample.done(r)
	case !r.proven:
		return errors.New("the server has not proved that it knows the key")
	}
	return nil
}

func (r *sampleRun) Refused(_ context.Context, refusal *core.Error) core.Mechanism {
	if r.refused != nil {
		return r.refused(refusal)
	}
	return nil
}

// sampleServer is its other side.
func sampleServer(responses [][]byte) smtptest.AuthStep {
	nonce := string(responses[0])
	switch len(responses) {
	case 1:
		return smtptest.AuthStep{Challenge: []byte("nonce 1")}
	case 2:
		if strings.HasPrefix(string(responses[1]), mac(secret, nonce+"nonce 1")) {
			return smtptest.AuthStep{Challenge: []byte(mac(secret, nonce))}
		}
		return smtptest.AuthStep{Refusal: smtptest.Reply("535 5.7.8 wrong key")}
	}
	return smtptest.AuthStep{User: "ann"}
}

// sampleConfig has the kit check what is returned by made.
func sampleConfig(made func() core.Mechanism) Config {
	return Config{
		New:          func(testing.TB) core.Mechanism { return made() },
		Server:       smtptest.ServerOptions{Mechanisms: map[string]smtptest.AuthFunc{"X-SAMPLE": sampleServer}},
		Secrets:      []string{secret},
		ProvesServer: true,
		Vectors: []Vector{{
			Name: "by hand",
			New: func(testing.TB) core.Mechanism {
				m := made()
				if s, ok := m.(*sample); ok {
					s.nonce = "c"
				}
				return m
			},
			Initial: []byte("c"),
			Rounds: []Round{
				// Of openssl: printf '%s' 'cnonce 1' | openssl dgst -sha256 -hmac 'shown on purpose'
				{[]byte("nonce 1"), []byte("0f3e3ef8e4718036c57f3d4e2efaec7c73f17da3abe82b03e9a8752b0c8edada")},
				{[]byte("cfe64c4a7cc28b3593523f7c6ee8c111b856347216b6aaac4763a7113d543c89"), nil},
			},
		}},
	}
}

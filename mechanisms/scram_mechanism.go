package mechanisms

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/xdg-go/scram"

	"github.com/postrider/postrider/core"
)

// plusSuffix is of the name of a mechanism with channel binding, RFC 5802 §4.
const plusSuffix = "-PLUS"

// scramMechanism is a variant of SCRAM with the credentials of one user, which
// are in a function, where nothing prints them.
type scramMechanism struct {
	name   string
	config SCRAM // with its defaults
	err    error // why it cannot work
	keys   func() *scramKeys
}

func (m *scramMechanism) Name() string { return m.name }

// KeepsSecret implements [core.SecretKeeper].
func (*scramMechanism) KeepsSecret() bool { return true }

// String keeps the password out of whatever prints the mechanism.
func (m *scramMechanism) String() string { return m.name }

// GoString is String, for %#v.
func (m *scramMechanism) GoString() string { return m.name }

// Check implements [core.Checker].
func (m *scramMechanism) Check() error { return m.err }

// CheckPeer implements [core.PeerChecker].
func (m *scramMechanism) CheckPeer(peer *core.Peer) error {
	if !m.config.Plus {
		return nil
	}
	_, err := m.config.Binding.to(peer.TLS)
	return err
}

func (m *scramMechanism) Start(_ context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	if m.err != nil {
		return nil, nil, m.err
	}
	conversation, err := m.converse(peer)
	if err != nil {
		return nil, nil, err
	}
	initial, err := conversation.Step("")
	if err != nil {
		return nil, nil, err
	}
	// RFC 5802 §7: the nonce is the last attribute; there is no "," in it.
	nonce := initial[strings.LastIndex(initial, ",r=")+len(",r="):]
	a := &scramAuthentication{config: m.config, keys: m.keys, nonce: nonce, conversation: func() *scram.ClientConversation { return conversation }}
	return a, []byte(initial), nil
}

// converse begins a conversation with the gs2-cbind-flag of RFC 5802 §6.
func (m *scramMechanism) converse(peer *core.Peer) (*scram.ClientConversation, error) {
	client := m.keys().current()
	binding, err := m.config.Binding.to(peer.TLS)
	switch {
	case m.config.Plus && err != nil:
		return nil, err
	case m.config.Plus:
		return client.NewConversationWithChannelBinding(binding), nil // p
	case err == nil && !offers(peer, m.name+plusSuffix):
		return client.NewConversationAdvertisingChannelBinding(), nil // y
	}
	return client.NewConversation(), nil // n
}

func offers(peer *core.Peer, name string) bool {
	return slices.ContainsFunc(peer.Extensions.Mechanisms(), func(s string) bool { return strings.EqualFold(s, name) })
}

// scramAuthentication is one run of SCRAM.
type scramAuthentication struct {
	config       SCRAM
	keys         func() *scramKeys
	nonce        string                           // the client's
	conversation func() *scram.ClientConversation // it knows the password
	proving      bool                             // the server's first message was read
}

func (a *scramAuthentication) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	switch {
	case a.conversation().Valid():
		return nil, violation("it sent a challenge behind its signature")
	case a.proving:
		return a.verify(string(challenge))
	}
	a.proving = true
	return a.prove(ctx, string(challenge))
}

// prove answers the server's first message with the proof.
func (a *scramAuthentication) prove(ctx context.Context, message string) ([]byte, error) {
	first, err := parseServerFirst(message, a.nonce)
	if err != nil {
		return nil, err
	}
	if first.iterations < uint64(a.config.MinIterations) || first.iterations > uint64(a.config.MaxIterations) {
		return nil, refusal(fmt.Errorf("the server asks for %d iterations, not for %d to %d", first.iterations, a.config.MinIterations, a.config.MaxIterations),
			"SCRAM.MinIterations and SCRAM.MaxIterations set the limits: see why the server is beyond them before you do")
	}
	if err := ctx.Err(); err != nil { // the work cannot be cut short
		return nil, err
	}
	a.keys().derives(scram.KeyFactors{Salt: first.salt, Iters: int(first.iterations)})
	proof, err := a.conversation().Step(message)
	if err != nil {
		return nil, fmt.Errorf("the proof cannot be made: %w", err)
	}
	return []byte(proof), nil
}

// verify checks the server's signature, which an empty response acknowledges
// (RFC 4954 §4).
func (a *scramAuthentication) verify(message string) ([]byte, error) {
	if err := checkServerFinal(message); err != nil {
		return nil, err
	}
	if _, err := a.conversation().Step(message); err != nil || !a.conversation().Valid() {
		return nil, refusal(fmt.Errorf("%w: its signature is wrong, so it does not know the password", core.ErrProtocol),
			"somebody may stand between you and the server")
	}
	return nil, nil
}

// Done does not believe a server that has not proven that it knows the password
// (RFC 5802 §5).
func (a *scramAuthentication) Done(context.Context) error {
	if !a.conversation().Valid() {
		return violation("it reports success without its signature")
	}
	return nil
}

// refusal is of a server that is not trusted with anything: as with a certificate
// that does not verify, another try would not help.
func refusal(err error, hint string) error {
	return &core.Error{Stage: core.StageAuth, Class: core.Permanent, Err: err, Hint: hint}
}

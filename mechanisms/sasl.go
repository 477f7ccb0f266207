package mechanisms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/core"
)

// FromSASL returns a mechanism that is a client of the package go-sasl. Such a
// client is good for one authentication, so client is called at each Start, by
// several sessions at once. name is what the client's Start returns.
//
// A go-sasl client has no context and cannot be interrupted; and it has no last
// word, so what it has to say against the server it says in its Next.
//
// The mechanism is taken to show a reusable secret, and is refused without TLS:
// see [KeepingSecret].
func FromSASL(name string, client func(peer *core.Peer) (sasl.Client, error)) core.Mechanism {
	return fromSASL{strings.ToUpper(name), client}
}

type fromSASL struct {
	name   string
	client func(*core.Peer) (sasl.Client, error)
}

func (f fromSASL) Name() string { return f.name }

// String returns the name.
func (f fromSASL) String() string { return f.name }

// Check implements [core.Checker].
func (f fromSASL) Check() error {
	if f.client == nil {
		return errors.New("the function given to mechanisms.FromSASL is nil")
	}
	return nil
}

func (f fromSASL) Start(_ context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	if err := f.Check(); err != nil {
		return nil, nil, err
	}
	client, err := f.client(peer)
	if err != nil {
		return nil, nil, err
	}
	if client == nil {
		return nil, nil, errors.New("the function given to mechanisms.FromSASL returned no client, and no error")
	}
	name, initial, err := client.Start()
	if err != nil {
		return nil, nil, err
	}
	if !strings.EqualFold(name, f.name) {
		return nil, nil, fmt.Errorf("the client given to mechanisms.FromSASL as %s is one for %q", f.name, name)
	}
	return saslRun{client.Next}, initial, nil
}

// saslRun holds no client: it is a function, which shows nothing when printed.
type saslRun struct {
	next func(challenge []byte) ([]byte, error)
}

func (r saslRun) Next(_ context.Context, challenge []byte) ([]byte, error) { return r.next(challenge) }

func (saslRun) Done(context.Context) error { return nil }

// KeepingSecret returns m as one that shows no reusable secret (see
// [core.SecretKeeper]), so that it may be used without TLS. It is for mechanisms
// that cannot say so themselves: those of [Func], [FromSASL] and [FromNetSMTP].
// It is the caller who vouches for that.
func KeepingSecret(m core.Mechanism) core.Mechanism { return keeping{m} }

type keeping struct{ core.Mechanism }

// String returns the name.
func (k keeping) String() string { return k.Name() }

// KeepsSecret implements [core.SecretKeeper].
func (keeping) KeepsSecret() bool { return true }

// Check says what the mechanism says.
func (k keeping) Check() error { return check(k.Mechanism) }

// CheckPeer says what the mechanism says.
func (k keeping) CheckPeer(peer *core.Peer) error { return checkPeer(k.Mechanism, peer) }

// ToSASL returns m as a client of the package go-sasl, for other protocols and
// other libraries. Each Start begins anew. ctx is for all that the client does,
// and peer is what m is told of the server; a nil peer is one of which nothing
// is known.
//
// What the core's sessions see to is seen to here: a mechanism that shows a
// reusable secret does not start unless peer has TLS with a certificate that
// verifies, or is Local.
//
// go-sasl does not tell a client that the server reports success. A mechanism
// that authenticates the server has its say when that comes in a challenge, as
// SCRAM's "v=" does over SMTP (RFC 5802 §5), but a server that reports success
// without one would go unnoticed: so the client also has a method
//
//	Done() error
//
// which is to be called on success, and after an error of which the connection
// is to be closed. It is an [io.Closer] too, for a mechanism whose runs are.
func ToSASL(ctx context.Context, m core.Mechanism, peer *core.Peer) sasl.Client {
	if peer == nil {
		peer = &core.Peer{}
	}
	return &toSASL{ctx: ctx, mechanism: func() core.Mechanism { return m }, peer: peer}
}

// toSASL has the mechanism and its run in functions for the reason that plain
// has.
type toSASL struct {
	ctx       context.Context // go-sasl passes none
	mechanism func() core.Mechanism
	peer      *core.Peer
	run       func() core.Authentication // nil before Start
}

// String keeps whatever the mechanism holds out of sight.
func (c *toSASL) String() string { return c.mechanism().Name() }

// GoString is String, for %#v.
func (c *toSASL) GoString() string { return c.mechanism().Name() }

// Start implements [sasl.Client].
func (c *toSASL) Start() (name string, initial []byte, err error) {
	_ = c.Close()
	m := c.mechanism()
	name = m.Name()
	if err := check(m); err != nil {
		return "", nil, fmt.Errorf("mechanism %s: %w", name, err)
	}
	if !keepsSecret(m) && !c.peer.Secure() {
		return "", nil, fmt.Errorf("%w: %s shows a reusable secret: give ToSASL a peer with its TLS state", core.ErrTLSRequired, name)
	}
	if err := checkPeer(m, c.peer); err != nil {
		return "", nil, fmt.Errorf("mechanism %s: %w", name, err)
	}
	a, initial, err := m.Start(c.ctx, c.peer)
	if err != nil {
		return "", nil, err
	}
	if a == nil {
		return "", nil, fmt.Errorf("mechanism %s started nothing", name)
	}
	c.run = func() core.Authentication { return a }
	return name, initial, nil
}

var errNotStarted = errors.New("no authentication was started: call Start first")

// Next implements [sasl.Client].
func (c *toSASL) Next(challenge []byte) ([]byte, error) {
	if c.run == nil {
		return nil, errNotStarted
	}
	response, err := c.run().Next(c.ctx, challenge)
	if err == nil && response == nil {
		response = []byte{} // go-smtp takes nil for the end, and that for success
	}
	return response, err
}

// Done is the mechanism's last word, after the server's success.
func (c *toSASL) Done() error {
	if c.run == nil {
		return errNotStarted
	}
	return c.run().Done(c.ctx)
}

// Close lets go of what the run holds.
func (c *toSASL) Close() error {
	if c.run == nil {
		return nil
	}
	a := c.run()
	c.run = nil
	return end(a)
}

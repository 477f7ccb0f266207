package remote

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// Mechanism is a mechanism that runs in a plugin.
type Mechanism struct {
	link  Link
	name  string
	about wire.Mechanism
}

// NewMechanism returns a mechanism of the plugin, as that described it.
func NewMechanism(link Link, name string, about wire.Mechanism) *Mechanism {
	return &Mechanism{link, name, about}
}

// Name implements [core.Mechanism].
func (m *Mechanism) Name() string { return m.name }

// String names the mechanism and the plugin.
func (m *Mechanism) String() string { return m.name + " of plugin " + m.link.Plugin() }

// GoString is String, for %#v.
func (m *Mechanism) GoString() string { return m.String() }

// KeepsSecret implements [core.SecretKeeper].
func (m *Mechanism) KeepsSecret() bool { return m.about.KeepsSecret }

// Check implements [core.Checker]. A plugin that cannot be asked is no reason for a
// mechanism to be refused: that will be better later.
func (m *Mechanism) Check() error {
	if !m.about.Checks {
		return nil
	}
	return m.check(nil)
}

// CheckPeer implements [core.PeerChecker]. A plugin that cannot be asked is no reason
// to choose another mechanism, which may be a weaker one: Start will say what is
// wrong.
func (m *Mechanism) CheckPeer(peer *core.Peer) error {
	if !m.about.ChecksPeer {
		return nil
	}
	return m.check(wire.Peer(peer))
}

func (m *Mechanism) check(peer *mechanismv1.Peer) error {
	conn, err := m.link.Call()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.link.Timeout())
	defer cancel()
	response, err := mechanismv1.NewMechanismServiceClient(conn).Check(ctx, &mechanismv1.CheckRequest{Mechanism: m.name, Peer: peer})
	if err != nil {
		conn.Explain(err, ctx.Err() != nil)
		return nil
	}
	switch f := response.GetFailure(); {
	case f == nil:
		return nil
	case peer != nil:
		return reason(f)
	default:
		return &core.Error{Stage: core.StageAuth, Class: wire.Class(f), Hint: wire.Hint(f), Err: reason(f)}
	}
}

// failure is what a mechanism says when it gives up.
func (m *Mechanism) failure(f *pluginv1.Failure) *core.Error {
	return &core.Error{Stage: core.StageAuth, Class: wire.Class(f), Hint: wire.Hint(f), Err: fmt.Errorf("%s: %w", m.name, reason(f))}
}

// Start implements [core.Mechanism].
func (m *Mechanism) Start(ctx context.Context, peer *core.Peer) (core.Authentication, []byte, error) {
	conn, err := m.link.Call()
	if err != nil {
		return nil, nil, failed(m.link, core.StageAuth, err)
	}
	s, err := open(ctx, m.link, conn)
	if err != nil {
		return nil, nil, err
	}
	return m.start(ctx, s, &mechanismv1.Start{Mechanism: m.name, Peer: wire.Peer(peer)})
}

func (m *Mechanism) start(ctx context.Context, s *stream, start *mechanismv1.Start) (core.Authentication, []byte, error) {
	response, err := s.ask(ctx, &mechanismv1.AuthenticateRequest{Step: &mechanismv1.AuthenticateRequest_Start{Start: start}})
	if err != nil {
		return nil, nil, err
	}
	switch step := response.GetStep().(type) {
	case *mechanismv1.AuthenticateResponse_Started:
		return &authentication{mechanism: m, stream: s, wantsRefusal: step.Started.GetWantsRefusal()}, initial(step.Started), nil
	case *mechanismv1.AuthenticateResponse_Failure:
		s.close()
		return nil, nil, m.failure(step.Failure)
	}
	return nil, nil, s.violated()
}

// initial is the initial response: nil for none, empty for an empty one.
func initial(s *mechanismv1.Started) []byte {
	if s.Initial != nil && len(s.Initial) == 0 {
		return []byte{}
	}
	return s.Initial
}

// authentication is one AUTH.
type authentication struct {
	mechanism    *Mechanism
	stream       *stream
	wantsRefusal bool
	expires      time.Time
}

// Next implements [core.Authentication].
func (a *authentication) Next(ctx context.Context, challenge []byte) ([]byte, error) {
	response, err := a.stream.ask(ctx, &mechanismv1.AuthenticateRequest{
		Step: &mechanismv1.AuthenticateRequest_Challenge{Challenge: &mechanismv1.Challenge{Challenge: challenge}},
	})
	if err != nil {
		return nil, err
	}
	switch step := response.GetStep().(type) {
	case *mechanismv1.AuthenticateResponse_Response:
		return step.Response.GetResponse(), nil
	case *mechanismv1.AuthenticateResponse_Failure:
		a.stream.close()
		return nil, a.mechanism.failure(step.Failure)
	}
	return nil, a.stream.violated()
}

// Done implements [core.Authentication].
func (a *authentication) Done(ctx context.Context) error {
	response, err := a.stream.ask(ctx, &mechanismv1.AuthenticateRequest{
		Step: &mechanismv1.AuthenticateRequest_Success{Success: &mechanismv1.Success{}},
	})
	if err != nil {
		return err
	}
	switch step := response.GetStep().(type) {
	case *mechanismv1.AuthenticateResponse_Accepted:
		if step.Accepted.Expires.IsValid() {
			a.expires = step.Accepted.GetExpires().AsTime()
		}
		a.stream.close()
		return nil
	case *mechanismv1.AuthenticateResponse_Failure:
		a.stream.close()
		return a.mechanism.failure(step.Failure)
	}
	return a.stream.violated()
}

// Expires implements [core.Expirer].
func (a *authentication) Expires() time.Time { return a.expires }

// Close ends the stream.
func (a *authentication) Close() error {
	a.stream.close()
	return nil
}

// Refused implements [core.RefusalHandler]. A plugin that fails here changes
// nothing: the server has refused.
func (a *authentication) Refused(ctx context.Context, refusal *core.Error) core.Mechanism {
	if !a.wantsRefusal {
		a.stream.close()
		return nil
	}
	response, err := a.stream.ask(ctx, &mechanismv1.AuthenticateRequest{
		Step: &mechanismv1.AuthenticateRequest_Refusal{Refusal: wire.Refusal(refusal)},
	})
	if err != nil {
		return nil
	}
	step, ok := response.GetStep().(*mechanismv1.AuthenticateResponse_Refused)
	if !ok {
		_ = a.stream.violated()
		return nil
	}
	if f := step.Refused.GetFailure(); f != nil {
		refusal.Class, refusal.Hint, refusal.Err = wire.Class(f), wire.Hint(f), wire.Err(f)
	}
	// Of another one only the first is run, and only after a refusal for good.
	if !step.Refused.GetAgain() || !refusal.Reply.Permanent() {
		a.stream.close()
		return nil
	}
	about := a.mechanism.about
	about.KeepsSecret = step.Refused.GetKeepsSecret()
	return &again{Mechanism{a.mechanism.link, a.mechanism.name, about}, a.stream}
}

// again is the same mechanism with other credentials, which the plugin has. It can
// be started once.
type again struct {
	Mechanism
	stream *stream
}

// Start implements [core.Mechanism].
func (m *again) Start(ctx context.Context, _ *core.Peer) (core.Authentication, []byte, error) {
	return m.start(ctx, m.stream, &mechanismv1.Start{Mechanism: m.name})
}

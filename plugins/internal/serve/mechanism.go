package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
)

// Session is what of a peer a [core.Peer] that was made by hand cannot hold.
type Session struct {
	// Offered is the SASL mechanisms that the server offers, in its order.
	Offered []string
	// TLSExporter is the data of tls-exporter (RFC 9266 §2), or nil.
	TLSExporter []byte
}

type sessionKey struct{}

// SessionOf returns the session that a context of Start or Next belongs to.
func SessionOf(ctx context.Context) (Session, bool) {
	s, ok := ctx.Value(sessionKey{}).(Session)
	return s, ok
}

// mechanismServer serves mechanisms.
type mechanismServer struct {
	mechanismv1.UnimplementedMechanismServiceServer
	mechanisms map[string]core.Mechanism
	log        *slog.Logger
}

func (s *mechanismServer) find(name string) (core.Mechanism, error) {
	m, ok := s.mechanisms[name]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such mechanism")
	}
	return m, nil
}

// Check asks the mechanism what it asks for.
func (s *mechanismServer) Check(_ context.Context, r *mechanismv1.CheckRequest) (*mechanismv1.CheckResponse, error) {
	m, err := s.find(r.GetMechanism())
	if err != nil {
		return nil, err
	}
	return &mechanismv1.CheckResponse{Failure: wire.Failure(s.check(m, r.GetPeer()))}, nil
}

func (s *mechanismServer) check(m core.Mechanism, peer *mechanismv1.Peer) (err error) {
	defer contain(s.log, "mechanism "+m.Name(), &err)
	if peer == nil {
		if c, ok := m.(core.Checker); ok {
			return c.Check()
		}
		return nil
	}
	p, err := wire.CorePeer(peer)
	if err != nil {
		return err
	}
	if c, ok := m.(core.PeerChecker); ok {
		return c.CheckPeer(p)
	}
	return nil
}

// Authenticate runs a mechanism for one AUTH.
func (s *mechanismServer) Authenticate(stream grpc.BidiStreamingServer[mechanismv1.AuthenticateRequest, mechanismv1.AuthenticateResponse]) error {
	r := run{server: s, ctx: stream.Context()}
	defer r.release()
	for !r.ended {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil // the host knows what it wanted to know
		}
		if err != nil {
			return err
		}
		response, err := r.step(request)
		if err != nil {
			return err
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	return nil
}

// run is one AUTH.
type run struct {
	server *mechanismServer
	ctx    context.Context
	peer   *core.Peer
	next   core.Mechanism // what the next start is for: other credentials, after a refusal
	name   string
	a      core.Authentication
	runs   []core.Authentication // all that were started, for the end
	ended  bool
}

// release has what was started let go of what it holds.
func (r *run) release() {
	var err error
	defer contain(r.server.log, "mechanism "+r.name, &err)
	for _, a := range r.runs {
		if c, ok := a.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

// step answers a request. Its error is about the protocol; what the mechanism says
// is in the response.
func (r *run) step(request *mechanismv1.AuthenticateRequest) (*mechanismv1.AuthenticateResponse, error) {
	response := &mechanismv1.AuthenticateResponse{}
	var err error
	switch step := request.GetStep().(type) {
	case *mechanismv1.AuthenticateRequest_Start:
		var m core.Mechanism
		if m, err = r.starting(step.Start); err != nil {
			return nil, err
		}
		response.Step, err = r.start(m)
	case *mechanismv1.AuthenticateRequest_Challenge:
		if r.a == nil {
			return nil, errOrder
		}
		response.Step, err = r.answer(step.Challenge.GetChallenge())
	case *mechanismv1.AuthenticateRequest_Success:
		if r.a == nil {
			return nil, errOrder
		}
		response.Step, err = r.done()
		r.ended = true
	case *mechanismv1.AuthenticateRequest_Refusal:
		if r.a == nil {
			return nil, errOrder
		}
		response.Step = r.refused(step.Refusal)
	default:
		return nil, errOrder
	}
	if err != nil {
		r.ended = true
		response.Step = &mechanismv1.AuthenticateResponse_Failure{Failure: wire.Failure(err)}
	}
	return response, nil
}

var errOrder = status.Error(codes.FailedPrecondition, "a step that is not due")

// starting returns the mechanism that is to start.
func (r *run) starting(start *mechanismv1.Start) (core.Mechanism, error) {
	if r.next != nil {
		m := r.next
		r.next = nil
		return m, nil
	}
	if r.name != "" {
		return nil, errOrder
	}
	m, err := r.server.find(start.GetMechanism())
	if err != nil {
		return nil, err
	}
	if r.peer, err = wire.CorePeer(start.GetPeer()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	r.name = m.Name()
	r.ctx = context.WithValue(r.ctx, sessionKey{}, Session{start.GetPeer().GetMechanisms(), start.GetPeer().GetTls().GetTlsExporter()})
	return m, nil
}

func (r *run) start(m core.Mechanism) (_ *mechanismv1.AuthenticateResponse_Started, err error) {
	defer contain(r.server.log, "mechanism "+r.name, &err)
	a, initial, err := m.Start(r.ctx, r.peer)
	if err == nil && a == nil {
		err = errors.New("it started nothing: Start returns an Authentication or an error")
	}
	if err != nil {
		return nil, err
	}
	r.a, r.runs = a, append(r.runs, a)
	_, wants := a.(core.RefusalHandler)
	// A nil slice is absent on the wire, an empty one is not.
	return &mechanismv1.AuthenticateResponse_Started{Started: &mechanismv1.Started{Initial: initial, WantsRefusal: wants}}, nil
}

func (r *run) answer(challenge []byte) (_ *mechanismv1.AuthenticateResponse_Response, err error) {
	defer contain(r.server.log, "mechanism "+r.name, &err)
	if challenge == nil {
		challenge = []byte{} // an empty challenge is one
	}
	response, err := r.a.Next(r.ctx, challenge)
	if err != nil {
		return nil, err
	}
	return &mechanismv1.AuthenticateResponse_Response{Response: &mechanismv1.Response{Response: response}}, nil
}

func (r *run) done() (_ *mechanismv1.AuthenticateResponse_Accepted, err error) {
	defer contain(r.server.log, "mechanism "+r.name, &err)
	if err := r.a.Done(r.ctx); err != nil {
		return nil, err
	}
	accepted := &mechanismv1.Accepted{}
	if e, ok := r.a.(core.Expirer); ok {
		if expires := e.Expires(); !expires.IsZero() {
			accepted.Expires = timestamppb.New(expires)
		}
	}
	return &mechanismv1.AuthenticateResponse_Accepted{Accepted: accepted}, nil
}

// refused has the mechanism look at a refusal.
func (r *run) refused(refusal *mechanismv1.Refusal) *mechanismv1.AuthenticateResponse_Refused {
	answer := &mechanismv1.Refused{}
	before := wire.CoreRefusal(refusal)
	after := *before
	other, err := r.ask(&after)
	r.a = nil
	if err != nil {
		r.ended = true
		return &mechanismv1.AuthenticateResponse_Refused{Refused: answer}
	}
	if after.Err != before.Err || after.Hint != before.Hint || after.Class != before.Class {
		answer.Failure = wire.Failure(&after)
	}
	if other != nil && other.Name() == r.name {
		keeper, ok := other.(core.SecretKeeper)
		answer.Again, answer.KeepsSecret = true, ok && keeper.KeepsSecret()
		r.next = other
	}
	r.ended = r.next == nil
	return &mechanismv1.AuthenticateResponse_Refused{Refused: answer}
}

func (r *run) ask(refusal *core.Error) (other core.Mechanism, err error) {
	defer contain(r.server.log, "mechanism "+r.name, &err)
	if h, ok := r.a.(core.RefusalHandler); ok {
		other = h.Refused(r.ctx, refusal)
	}
	return other, nil
}

package remote_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/remote"
	"github.com/postrider/postrider/plugins/internal/wire"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// link is the way to a server in this process.
type link struct{ *grpc.ClientConn }

func (l *link) Call() (remote.Call, error)       { return l, nil }
func (*link) Plugin() string                     { return "corp" }
func (*link) Timeout() time.Duration             { return 10 * time.Second }
func (*link) Explain(err error, late bool) error { return err }

// plugin answers each request with the next of its answers.
type plugin struct {
	mechanismv1.UnimplementedMechanismServiceServer
	answers  []*mechanismv1.AuthenticateResponse
	metadata metadata.MD
	ended    chan struct{}
}

func (p *plugin) Authenticate(stream grpc.BidiStreamingServer[mechanismv1.AuthenticateRequest, mechanismv1.AuthenticateResponse]) error {
	defer close(p.ended)
	p.metadata, _ = metadata.FromIncomingContext(stream.Context())
	for _, answer := range p.answers {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

func (p *plugin) mechanism(t *testing.T) core.Mechanism {
	t.Helper()
	p.ended = make(chan struct{})
	return remote.NewMechanism(serve(t, func(r grpc.ServiceRegistrar) { mechanismv1.RegisterMechanismServiceServer(r, p) }), "X-TEST", wire.Mechanism{})
}

// serve serves in this process until the end of the test.
func serve(t *testing.T, register func(grpc.ServiceRegistrar)) *link {
	t.Helper()
	listener, server := bufconn.Listen(1<<16), grpc.NewServer()
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &link{conn}
}

func started() *mechanismv1.AuthenticateResponse {
	return &mechanismv1.AuthenticateResponse{Step: &mechanismv1.AuthenticateResponse_Started{Started: &mechanismv1.Started{WantsRefusal: true}}}
}

// An answer to something else is a failure of the plugin, and ends the stream.
func TestMechanism_answersToSomethingElse(t *testing.T) {
	accepted := &mechanismv1.AuthenticateResponse{Step: &mechanismv1.AuthenticateResponse_Accepted{Accepted: &mechanismv1.Accepted{}}}
	for _, tt := range []struct {
		rule    string
		answers []*mechanismv1.AuthenticateResponse
		ask     func(a core.Authentication) error
	}{
		{"to start", []*mechanismv1.AuthenticateResponse{accepted}, nil},
		{"nothing", []*mechanismv1.AuthenticateResponse{{}}, nil},
		{"success before it was reported", []*mechanismv1.AuthenticateResponse{started(), accepted}, func(a core.Authentication) error {
			_, err := a.Next(t.Context(), nil)
			return err
		}},
		{"to success", []*mechanismv1.AuthenticateResponse{started(), started()}, func(a core.Authentication) error { return a.Done(t.Context()) }},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			p := &plugin{answers: tt.answers}
			a, _, err := p.mechanism(t).Start(t.Context(), &core.Peer{})
			if tt.ask != nil && err == nil {
				err = tt.ask(a)
			}
			e, ok := err.(*core.Error)
			if !ok || e.Class != core.Temporary || e.Stage != core.StageAuth || !strings.Contains(err.Error(), "plugin corp: it breaks the protocol") {
				t.Errorf("%T %v", err, err)
			}
			<-p.ended
		})
	}
}

func TestMechanism_anAnswerToSomethingElseLeavesTheRefusal(t *testing.T) {
	p := &plugin{answers: []*mechanismv1.AuthenticateResponse{started(), started()}}
	a, _, err := p.mechanism(t).Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	refusal := &core.Error{Class: core.Permanent, Err: core.ErrCredentials, Reply: core.Reply{Code: 535}}
	if other := a.(core.RefusalHandler).Refused(t.Context(), refusal); other != nil || refusal.Err != core.ErrCredentials {
		t.Error(other, refusal)
	}
	<-p.ended
}

func TestMechanism_whatIsClosedEnds(t *testing.T) {
	p := &plugin{answers: []*mechanismv1.AuthenticateResponse{started()}}
	a, _, err := p.mechanism(t).Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	<-p.ended
}

// The answer to one step is there, and its context ends at the same time: no later
// step finds a stream that was ended without a reason.
func TestMechanism_aContextThatEndsWithTheAnswer(t *testing.T) {
	answer := &mechanismv1.AuthenticateResponse{Step: &mechanismv1.AuthenticateResponse_Response{Response: &mechanismv1.Response{}}}
	p := &plugin{answers: []*mechanismv1.AuthenticateResponse{started(), answer}}
	a, _, err := p.mechanism(t).Start(t.Context(), &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Next(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-p.ended
}

func TestMechanism_whatTheCallersContextCarriesIsNotSent(t *testing.T) {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer hunter2")
	p := &plugin{answers: []*mechanismv1.AuthenticateResponse{started()}}
	a, _, err := p.mechanism(t).Start(ctx, &core.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	<-p.ended
	if got := p.metadata.Get("authorization"); got != nil {
		t.Error(got)
	}
}

func TestMechanism_aFailureWithoutATextHasOne(t *testing.T) {
	p := &plugin{answers: []*mechanismv1.AuthenticateResponse{{Step: &mechanismv1.AuthenticateResponse_Failure{Failure: &pluginv1.Failure{}}}}}
	_, _, err := p.mechanism(t).Start(t.Context(), &core.Peer{})
	if e, ok := errors.AsType[*core.Error](err); !ok || e.Class != core.Local || !strings.Contains(err.Error(), "X-TEST: it gives no reason") {
		t.Error(err)
	}
	<-p.ended
}

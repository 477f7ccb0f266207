package serve_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/plugins/internal/serve"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
	signerv1 "github.com/postrider/postrider/plugins/proto/postrider/signer/v1"
)

// dial serves PLAIN and a mechanism that starts nothing.
func dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	p := &serve.Plugin{
		Name: "test", Log: slog.New(slog.DiscardHandler),
		Mechanisms:   []core.Mechanism{mechanisms.Plain("ann", "x"), nothing{}},
		Interceptors: []serve.Interceptor{{Name: "policy", Admit: admit}},
	}
	listener, server := bufconn.Listen(1<<16), grpc.NewServer()
	if err := p.Register(server); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}

type nothing struct{}

func (nothing) Name() string { return "X-NOTHING" }

func (nothing) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, nil
}

// A host that breaks the order is told so by a status, and not by a crash.
func TestAuthenticate_order(t *testing.T) {
	start := func(name string) *mechanismv1.AuthenticateRequest {
		return &mechanismv1.AuthenticateRequest{Step: &mechanismv1.AuthenticateRequest_Start{Start: &mechanismv1.Start{Mechanism: name}}}
	}
	challenge := &mechanismv1.AuthenticateRequest{Step: &mechanismv1.AuthenticateRequest_Challenge{Challenge: &mechanismv1.Challenge{}}}
	success := &mechanismv1.AuthenticateRequest{Step: &mechanismv1.AuthenticateRequest_Success{Success: &mechanismv1.Success{}}}
	refusal := &mechanismv1.AuthenticateRequest{Step: &mechanismv1.AuthenticateRequest_Refusal{Refusal: &mechanismv1.Refusal{}}}
	badPeer := &mechanismv1.AuthenticateRequest{Step: &mechanismv1.AuthenticateRequest_Start{Start: &mechanismv1.Start{
		Mechanism: "PLAIN", Peer: &mechanismv1.Peer{Tls: &mechanismv1.TLS{Certificate: []byte("x")}},
	}}}
	for _, tt := range []struct {
		rule     string
		requests []*mechanismv1.AuthenticateRequest
		code     codes.Code // behind the answers to all but the last
	}{
		{"a challenge first", []*mechanismv1.AuthenticateRequest{challenge}, codes.FailedPrecondition},
		{"success first", []*mechanismv1.AuthenticateRequest{success}, codes.FailedPrecondition},
		{"a refusal first", []*mechanismv1.AuthenticateRequest{refusal}, codes.FailedPrecondition},
		{"nothing", []*mechanismv1.AuthenticateRequest{{}}, codes.FailedPrecondition},
		{"start twice", []*mechanismv1.AuthenticateRequest{start("PLAIN"), start("PLAIN")}, codes.FailedPrecondition},
		{"a mechanism that there is not", []*mechanismv1.AuthenticateRequest{start("X-OTHER")}, codes.NotFound},
		{"a certificate that is none", []*mechanismv1.AuthenticateRequest{badPeer}, codes.InvalidArgument},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			stream, err := mechanismv1.NewMechanismServiceClient(dial(t)).Authenticate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for n, request := range tt.requests {
				if err := stream.Send(request); err != nil {
					t.Fatal(err)
				}
				_, err := stream.Recv()
				if last := n == len(tt.requests)-1; last && status.Code(err) != tt.code || !last && err != nil {
					t.Errorf("request %d: %v", n+1, err)
				}
			}
		})
	}
}

func TestAuthenticate_aMechanismThatStartsNothing(t *testing.T) {
	stream, err := mechanismv1.NewMechanismServiceClient(dial(t)).Authenticate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&mechanismv1.AuthenticateRequest{Step: &mechanismv1.AuthenticateRequest_Start{Start: &mechanismv1.Start{Mechanism: "X-NOTHING"}}}); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil || response.GetFailure().GetClass() != pluginv1.Class_CLASS_LOCAL {
		t.Errorf("%v, %v", response, err)
	}
}

func TestCheck(t *testing.T) {
	client := mechanismv1.NewMechanismServiceClient(dial(t))
	if r, err := client.Check(t.Context(), &mechanismv1.CheckRequest{Mechanism: "PLAIN"}); r.GetFailure() != nil || err != nil {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := client.Check(t.Context(), &mechanismv1.CheckRequest{Mechanism: "X-OTHER"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

func TestSign_aKeyThatThereIsNot(t *testing.T) {
	if _, err := signerv1.NewSignerServiceClient(dial(t)).Sign(t.Context(), &signerv1.SignRequest{Key: "x"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

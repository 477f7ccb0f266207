// Package plugintest checks plugins: as values in this process, and as binaries.
//
// [Mechanism], [Signer] and [Transport] put the wire protocol between a value and its user, so
// that all that is not the process can be tested where a debugger reaches. [Run]
// is for the program that was built: it starts it, as a host does, and has it do all
// that a plugin has to do.
package plugintest

import (
	"context"
	"crypto"
	"fmt"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/remote"
	"github.com/postrider/postrider/plugins/internal/serve"
	"github.com/postrider/postrider/plugins/internal/wire"
	"github.com/postrider/postrider/plugins/proto"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
	"github.com/postrider/postrider/plugins/sdk"
)

// patience is how long an answer may take here.
const patience = 10 * time.Second

// Mechanism returns m as a host has it that runs m in a plugin: through the wire
// protocol, but in this process and until the end of the test. It can be given to
// mechanismtest.Run.
func Mechanism(t testing.TB, m core.Mechanism) core.Mechanism {
	t.Helper()
	link, about := connect(t, &serve.Plugin{Mechanisms: []core.Mechanism{m}})
	return remote.NewMechanism(link, m.Name(), about.Mechanisms[m.Name()])
}

// Signer is Mechanism for a key.
func Signer(t testing.TB, key crypto.Signer) crypto.Signer {
	t.Helper()
	link, about := connect(t, &serve.Plugin{Signers: []serve.Signer{{ID: "key", Key: key}}})
	return remote.NewSigner(link, "key", about.Signers["key"])
}

// Transport is Mechanism for a transport.
func Transport(t testing.TB, of core.Transport) core.Transport {
	t.Helper()
	link, _ := connect(t, &serve.Plugin{Transports: []core.Transport{of}})
	return remote.NewTransport(link, of.Scheme())
}

// connect serves a plugin in memory.
func connect(t testing.TB, p *serve.Plugin) (*memory, *wire.Description) {
	t.Helper()
	p.Name, p.Log = "in-memory", sdk.Logger()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(proto.MaxMessage))
	if err := p.Register(server); err != nil {
		t.Fatal("plugintest: ", err)
	}
	listener := bufconn.Listen(64 << 10)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(proto.MaxMessage), grpc.MaxCallSendMsgSize(proto.MaxMessage)))
	if err != nil {
		t.Fatal("plugintest: ", err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error("plugintest: ", err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error("plugintest: ", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	described, err := pluginv1.NewPluginServiceClient(conn).Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatal("plugintest: ", err)
	}
	about, err := wire.ReadDescription(described)
	if err != nil {
		t.Fatal("plugintest: ", err)
	}
	return &memory{conn}, about
}

// memory is the way to a plugin in this process.
type memory struct{ *grpc.ClientConn }

// Call implements remote.Link.
func (m *memory) Call() (remote.Call, error) { return m, nil }

// Plugin implements remote.Link.
func (*memory) Plugin() string { return "in-memory" }

// Timeout implements remote.Link.
func (*memory) Timeout() time.Duration { return patience }

// Explain implements remote.Call.
func (*memory) Explain(err error, late bool) error {
	if late {
		return fmt.Errorf("no answer in %v", patience)
	}
	return err
}

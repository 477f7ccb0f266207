// Package sdk makes a program a plugin: around the same [core.Mechanism],
// [crypto.Signer] or [core.Transport] that works in process, or an [Admitter], which
// decides about messages.
//
//	func main() {
//		sdk.Serve(sdk.Info("corp-auth", "1.4.0"), sdk.Mechanism(ticket.New()))
//	}
//
// It is tested without a process by package plugintest.
package sdk

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/serve"
	"github.com/postrider/postrider/plugins/proto"
)

// Part is something that a plugin has.
type Part struct{ add func(*serve.Plugin) }

// Info is the plugin's name, 1 to 64 letters, digits, dots, hyphens and underscores,
// and its version. A host may ask for the name. Without Info it is "plugin".
func Info(name, version string) Part {
	return Part{func(p *serve.Plugin) { p.Name, p.Version = name, version }}
}

// Mechanism is a mechanism, as it works in process. It is used by many goroutines at
// a time. In its methods,
//
//   - the context ends when the host no longer wants the answer;
//   - the peer has no Extensions, Addr and Greeting, and of the TLS state the version
//     and the server's certificate alone: see [SessionOf].
func Mechanism(m core.Mechanism) Part {
	return Part{func(p *serve.Plugin) { p.Mechanisms = append(p.Mechanisms, m) }}
}

// Signer is a key, RSA, ECDSA or Ed25519, and what it is called. It is used by many
// goroutines at a time.
func Signer(id string, key crypto.Signer) Part {
	return Part{func(p *serve.Plugin) { p.Signers = append(p.Signers, serve.Signer{ID: id, Key: key}) }}
}

// Transport is a transport, as it works in process. It is used by many goroutines at
// a time. The host carries the octets of its connections, and does TLS on them: the
// plugin sees what the server sees. In its methods, the context of Dial ends when the
// host no longer wants the connection, which is closed then.
func Transport(t core.Transport) Part {
	return Part{func(p *serve.Plugin) { p.Transports = append(p.Transports, t) }}
}

// Session is what of a [core.Peer] cannot be had in another process: the SASL
// mechanisms that the server offers, and the data of tls-exporter (RFC 9266).
type Session = serve.Session

// SessionOf returns the session that the context of a mechanism's Start, Next, Done
// or Refused belongs to. It reports false in another process than a plugin's, where
// core.Peer has it all.
func SessionOf(ctx context.Context) (Session, bool) { return serve.SessionOf(ctx) }

// hostLog is the standard error as the host made it: Serve has go-plugin put another
// file in its place, which is slower to arrive.
var hostLog = os.Stderr

// Logger returns a logger whose records go to the host's log, with their levels. The
// host logs so many in a second, and drops the others. It may be called before
// Serve, and is safe for concurrent use.
func Logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(hostLog, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// drainTime is how long calls may go on when the host has gone, or wants the plugin
// to end: a host that is there ends it sooner.
const drainTime = 30 * time.Second

// Serve serves the parts until the host ends the plugin or is gone, and then ends the
// process. It ends the process with status 1 and a message if it was not started by
// a host, or if the parts are not right: a name that is not valid, say, or two of
// the same name.
func Serve(parts ...Part) {
	p := &serve.Plugin{Name: "plugin", Log: Logger()}
	for _, part := range parts {
		part.add(p)
	}
	// The library looks too, but prints what is of no use to a person.
	if os.Getenv(proto.CookieKey) != proto.CookieValue {
		fmt.Fprintf(os.Stderr, "%s is a plugin of Postrider: it is started by a mailer, see plugins.Start\n", os.Args[0])
		os.Exit(1)
	}
	// A plugin whose parts are not right says so before it says that it serves.
	if err := p.Register(grpc.NewServer()); err != nil {
		p.Log.Error("the plugin cannot serve", "error", err)
		os.Exit(1)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: proto.CookieKey, MagicCookieValue: proto.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{proto.Version: {"postrider": &registrar{plugin: p}}},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			s := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(proto.MaxMessage), grpc.MaxSendMsgSize(proto.MaxMessage))...)
			go endWithHost(s)
			return s
		},
		Logger: hclog.NewNullLogger(),
	})
	os.Exit(0)
}

// endWithHost ends the server when the host closes the standard input, which it also
// does by not being there any more.
func endWithHost(s *grpc.Server) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	time.AfterFunc(drainTime, func() { os.Exit(1) })
	s.GracefulStop()
}

// registrar is the plugin for go-plugin.
type registrar struct {
	plugin.NetRPCUnsupportedPlugin
	plugin *serve.Plugin
}

// GRPCServer adds the services.
func (r *registrar) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	return r.plugin.Register(s)
}

// GRPCClient is the host's, which does it otherwise.
func (r *registrar) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

package plugins

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/plugins/internal/wire"
	"github.com/postrider/postrider/plugins/proto"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// maxHeaders bounds what a plugin may send beside the messages.
const maxHeaders = 16 << 10

// generation is one process of a plugin, and the connection to it. Nothing of it is
// used for the next one: go-plugin would say that all is well with a process that
// is gone.
type generation struct {
	*grpc.ClientConn
	process *process
	folder  string
	about   *wire.Description
	suspect func()             // has somebody see whether the process is well
	silence context.CancelFunc // ends the stream of what the process prints
	prints  sync.WaitGroup
	reason  atomic.Pointer[error] // why the host killed it, or what became of it
}

// launch starts a process and connects to it. The context is for that, and not for
// the life of the process.
func (p *Plugin) launch(ctx context.Context) (*generation, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.StartTimeout)
	defer cancel()
	p.generations++
	folder, err := p.folder.process(p.generations)
	if err != nil {
		return nil, err
	}
	g := &generation{folder: folder, suspect: p.suspect, silence: func() {}}
	binary := p.folder.binary()
	g.process = &process{lines: p.lines, done: make(chan struct{}), cmd: &exec.Cmd{
		Path: binary, Args: append([]string{binary}, p.config.Args...), Dir: folder,
	}}
	if err := g.open(ctx, p); err != nil {
		err = errors.Join(err, g.kill(nil))
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: it does not serve after %v", ErrLate, p.config.StartTimeout)
		}
		return nil, err
	}
	return g, nil
}

func (g *generation) open(ctx context.Context, p *Plugin) error {
	address, config, err := g.run(ctx, p)
	if err != nil {
		return err
	}
	g.ClientConn, err = grpc.NewClient("passthrough:///plugin",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, address.Network(), address.String())
		}),
		grpc.WithTransportCredentials(credentials.NewTLS(config.TLSConfig)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(proto.MaxMessage), grpc.MaxCallSendMsgSize(proto.MaxMessage)),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), // an AUTH is never replayed
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return err
	}
	described, err := pluginv1.NewPluginServiceClient(g).Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return fmt.Errorf("asking it what it is: %w", g.Explain(err, ctx.Err() != nil))
	}
	if g.about, err = wire.ReadDescription(described); err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	printing, silence := context.WithCancel(context.Background())
	g.silence = silence
	g.prints.Go(func() { logPrinted(printing, g.ClientConn, p.lines) })
	return nil
}

// run starts the process by go-plugin, which makes the keys of both sides and reads
// the handshake.
func (g *generation) run(ctx context.Context, p *Plugin) (net.Addr, *plugin.ClientConfig, error) {
	config := &plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: proto.CookieKey, MagicCookieValue: proto.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{proto.Version: {}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		StartTimeout:     p.config.StartTimeout,
		AutoMTLS:         true,
		SkipHostEnv:      true,
		Logger:           hclog.NewNullLogger(), // what it says is said here, better
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.folder.path},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, folder string) (runner.Runner, error) {
			g.process.cmd.Env = environment(p.config.Env, spec.Env, g.folder)
			return g.process, os.Remove(folder) // the process has another one, with a shorter name
		},
	}
	stop := context.AfterFunc(ctx, func() { _ = g.process.Kill(ctx) })
	defer stop()
	address, err := plugin.NewClient(config).Start()
	return address, config, err
}

// environment is what was configured, and what go-plugin needs.
func environment(configured, handshake []string, folder string) []string {
	env := slices.Clone(configured)
	for _, v := range handshake {
		if !strings.HasPrefix(v, plugin.EnvUnixSocketDir+"=") {
			env = append(env, v)
		}
	}
	return append(env, plugin.EnvUnixSocketDir+"="+folder, "TMPDIR="+folder)
}

// Explain implements remote.Call.
func (g *generation) Explain(err error, late bool) error {
	if reason := g.reason.Load(); reason != nil {
		return *reason
	}
	if late {
		g.suspect()
		return ErrLate
	}
	switch code := status.Code(err); code {
	case codes.DeadlineExceeded: // gRPC may see that before the context says so
		g.suspect()
		return ErrLate
	case codes.Unavailable, codes.Canceled:
		// The end of the connection is seen before that of the process.
		select {
		case <-g.process.done:
			return fmt.Errorf("%w: %w", ErrEnded, g.process.ended)
		case <-time.After(drainTime):
			g.suspect()
			return fmt.Errorf("%w: the connection to it was lost", ErrBroken)
		}
	case codes.ResourceExhausted:
		return fmt.Errorf("%w: its answer is too large, %d octets are the most", ErrBroken, proto.MaxMessage)
	default:
		// What it says beside the code may be anything.
		return fmt.Errorf("%w: the call failed with %v", ErrBroken, code)
	}
}

// healthy asks the process whether it is still there. go-plugin's own question has
// no deadline.
func (g *generation) healthy(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, err := grpc_health_v1.NewHealthClient(g).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: it does not say within %v that it is well", ErrLate, timeout)
	case err != nil:
		return fmt.Errorf("%w: asked whether it is well it fails with %v", ErrBroken, status.Code(err))
	case response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		return fmt.Errorf("%w: it says that it is not well", ErrBroken)
	}
	return nil
}

// maxReap is how long a process may take to be gone when it was killed: one that
// waits for a disk cannot be killed.
const maxReap = 5 * time.Second

// stop asks the process to end, and kills it if it has not when ctx ends.
func (g *generation) stop(ctx context.Context) error {
	g.silence()
	_ = g.process.stop.Close()
	select {
	case <-g.process.done:
		return g.clear()
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%w: it did not end when it was asked to, and was killed; what uses it, a client say, is to be closed first", ErrLate), g.kill(ErrLate))
	}
}

// kill kills the process and removes what belongs to it. The reason, if there is
// one, is what its calls get to know.
func (g *generation) kill(reason error) error {
	if reason != nil {
		g.reason.Store(&reason)
	}
	_ = g.process.Kill(context.Background())
	return g.clear()
}

func (g *generation) clear() error {
	g.silence()
	var err error
	if g.process.pid() != 0 {
		select {
		case <-g.process.done:
			g.process.copies.Wait()
		case <-time.After(maxReap):
			err = fmt.Errorf("process %d does not end, although it was killed", g.process.pid())
		}
	}
	if g.ClientConn != nil {
		_ = g.Close() // it is closed once
	}
	g.prints.Wait()
	return errors.Join(err, os.RemoveAll(g.folder))
}

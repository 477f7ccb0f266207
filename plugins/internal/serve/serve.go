// Package serve is the plugin's side of the wire protocol, around the values that
// work in process.
package serve

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
	signerv1 "github.com/postrider/postrider/plugins/proto/postrider/signer/v1"
	transportv1 "github.com/postrider/postrider/plugins/proto/postrider/transport/v1"
)

// Plugin is what is served.
type Plugin struct {
	Name, Version string
	Mechanisms    []core.Mechanism
	Signers       []Signer
	Transports    []core.Transport
	Interceptors  []Interceptor
	Log           *slog.Logger
}

// Signer is a key and what it is called.
type Signer struct {
	ID  string
	Key crypto.Signer
}

// Register adds the services to s. It checks what they serve as the host will.
func (p *Plugin) Register(s grpc.ServiceRegistrar) error {
	described, err := p.describe()
	if err != nil {
		return err
	}
	if _, err := wire.ReadDescription(described); err != nil {
		return err
	}
	mechanisms := make(map[string]core.Mechanism, len(p.Mechanisms))
	for _, m := range p.Mechanisms {
		mechanisms[m.Name()] = m
	}
	keys := make(map[string]crypto.Signer, len(p.Signers))
	for _, signer := range p.Signers {
		keys[signer.ID] = signer.Key
	}
	transports := make(map[string]core.Transport, len(p.Transports))
	for _, t := range p.Transports {
		transports[t.Scheme()] = t
	}
	pluginv1.RegisterPluginServiceServer(s, &describer{described: described})
	mechanismv1.RegisterMechanismServiceServer(s, &mechanismServer{mechanisms: mechanisms, log: p.Log})
	signerv1.RegisterSignerServiceServer(s, &signerServer{keys: keys, log: p.Log})
	transportv1.RegisterTransportServiceServer(s, &transportServer{transports: transports, log: p.Log})
	interceptorv1.RegisterInterceptorServiceServer(s, newInterceptorServer(p.Interceptors, p.Log))
	return nil
}

func (p *Plugin) describe() (*pluginv1.DescribeResponse, error) {
	d := &pluginv1.DescribeResponse{Name: p.Name, Version: p.Version}
	for n, m := range p.Mechanisms {
		if m == nil {
			return nil, fmt.Errorf("mechanism %d is nil", n)
		}
		keeper, ok := m.(core.SecretKeeper)
		_, checks := m.(core.Checker)
		_, checksPeer := m.(core.PeerChecker)
		d.Mechanisms = append(d.Mechanisms, &pluginv1.MechanismDescription{
			Name: m.Name(), KeepsSecret: ok && keeper.KeepsSecret(), Checks: checks, ChecksPeer: checksPeer,
		})
	}
	for _, s := range p.Signers {
		if s.Key == nil {
			return nil, fmt.Errorf("the key of the signer %s is nil", s.ID)
		}
		public, err := x509.MarshalPKIXPublicKey(s.Key.Public())
		if err != nil {
			return nil, fmt.Errorf("the public key of the signer %s: %w", s.ID, err)
		}
		d.Signers = append(d.Signers, &pluginv1.SignerDescription{Id: s.ID, PublicKey: public})
	}
	for n, t := range p.Transports {
		if t == nil {
			return nil, fmt.Errorf("transport %d is nil", n)
		}
		d.Transports = append(d.Transports, &pluginv1.TransportDescription{Scheme: t.Scheme()})
	}
	for _, i := range p.Interceptors {
		if i.Admit == nil {
			return nil, fmt.Errorf("the interceptor %s is nil", i.Name)
		}
		d.Interceptors = append(d.Interceptors, &pluginv1.InterceptorDescription{Name: i.Name})
	}
	return d, nil
}

type describer struct {
	pluginv1.UnimplementedPluginServiceServer
	described *pluginv1.DescribeResponse
}

func (d *describer) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return d.described, nil
}

// errPanic says that the code of the plugin's author panicked. What it panicked
// with is for the plugin's log: it may be anything.
var errPanic = errors.New("it panicked: the plugin's log has the stack")

// contain makes a panic in what is served an error. In a goroutine of gRPC it
// would end the process, and with it what others do. It is to be deferred itself.
func contain(log *slog.Logger, what string, err *error) {
	if v := recover(); v != nil {
		log.Error("panic in "+what, "value", fmt.Sprint(v), "stack", string(debug.Stack()))
		*err = &core.Error{Stage: core.StageAuth, Class: core.Temporary, Err: errPanic}
	}
}

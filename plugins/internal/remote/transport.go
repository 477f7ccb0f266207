package remote

import (
	"context"
	"net"
	"net/url"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
	transportv1 "github.com/postrider/postrider/plugins/proto/postrider/transport/v1"
)

// Transport is a transport that runs in a plugin.
type Transport struct {
	link   Link
	scheme string
}

// NewTransport returns a transport of the plugin.
func NewTransport(link Link, scheme string) *Transport { return &Transport{link, scheme} }

// Scheme implements [core.Transport].
func (t *Transport) Scheme() string { return t.scheme }

// String names the transport and the plugin.
func (t *Transport) String() string { return t.scheme + " of plugin " + t.link.Plugin() }

// GoString is String, for %#v.
func (t *Transport) GoString() string { return t.String() }

// Endpoint implements [core.Transport].
func (t *Transport) Endpoint(u *url.URL) (core.Endpoint, error) {
	conn, err := t.link.Call()
	if err != nil {
		return core.Endpoint{}, failed(t.link, core.StageConfig, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.link.Timeout())
	defer cancel()
	response, err := transportv1.NewTransportServiceClient(conn).Resolve(ctx, &transportv1.ResolveRequest{Url: u.String()})
	if err != nil {
		return core.Endpoint{}, failed(t.link, core.StageConfig, conn.Explain(err, ctx.Err() != nil))
	}
	switch result := response.GetResult().(type) {
	case *transportv1.ResolveResponse_Endpoint:
		return wire.CoreEndpoint(u.String(), result.Endpoint), nil
	case *transportv1.ResolveResponse_Failure:
		return core.Endpoint{}, t.failure(core.StageConfig, result.Failure)
	}
	return core.Endpoint{}, failed(t.link, core.StageConfig, errViolation)
}

// failure is what the transport says when it opens nothing.
func (t *Transport) failure(stage core.Stage, f *pluginv1.Failure) *core.Error {
	return &core.Error{Stage: stage, Class: wire.Class(f), Hint: wire.Hint(f), Err: &Error{t.link.Plugin(), reason(f)}}
}

// Dial implements [core.Transport]. ctx is for that, and not for the connection.
func (t *Transport) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := t.link.Call()
	if err != nil {
		return nil, failed(t.link, core.StageConnect, err)
	}
	own, cancel := context.WithCancelCause(context.Background())
	c, err := t.open(ctx, own, cancel, conn, e)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return c, nil
}

// open opens a connection that own ends.
func (t *Transport) open(ctx, own context.Context, cancel context.CancelCauseFunc, conn Call, e core.Endpoint) (net.Conn, error) {
	release := limit(ctx, t.link.Timeout(), cancel)
	stream, response, err := t.connect(own, conn, e)
	release()
	if err == nil {
		err = own.Err() // the answer came as the time was up
	}
	if err != nil {
		return nil, explain(ctx, own, t.link, conn, core.StageConnect, err)
	}
	switch step := response.GetStep().(type) {
	case *transportv1.ConnectResponse_Opened:
		return newConn(stream, cancel, step.Opened, t.explain(conn)), nil
	case *transportv1.ConnectResponse_Failure:
		return nil, t.failure(core.StageConnect, step.Failure)
	}
	return nil, failed(t.link, core.StageConnect, errViolation)
}

type connectStream = grpc.BidiStreamingClient[transportv1.ConnectRequest, transportv1.ConnectResponse]

// connect asks for a connection, and waits for the answer.
func (t *Transport) connect(ctx context.Context, conn Call, e core.Endpoint) (connectStream, *transportv1.ConnectResponse, error) {
	stream, err := transportv1.NewTransportServiceClient(conn).Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	// The error of Send is io.EOF if the stream has ended: Recv says why.
	_ = stream.Send(&transportv1.ConnectRequest{Step: &transportv1.ConnectRequest_Open{
		Open: &transportv1.Open{Url: e.URL, Endpoint: wire.Endpoint(e)},
	}})
	response, err := stream.Recv()
	return stream, response, err
}

// explain returns what tells why a connection broke: because of what the plugin has
// to say about it, or because of the plugin.
func (t *Transport) explain(conn Call) func(error, *pluginv1.Failure) error {
	return func(err error, f *pluginv1.Failure) error {
		switch {
		case f != nil:
			err = reason(f)
		case err != errViolation:
			err = conn.Explain(err, false)
		}
		return &Error{t.link.Plugin(), err}
	}
}

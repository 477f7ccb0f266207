package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	transportv1 "github.com/postrider/postrider/plugins/proto/postrider/transport/v1"
)

// transportServer serves transports.
type transportServer struct {
	transportv1.UnimplementedTransportServiceServer
	transports map[string]core.Transport
	log        *slog.Logger
}

// find returns the transport for a URL.
func (s *transportServer) find(raw string) (core.Transport, *url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, nil, status.Error(codes.InvalidArgument, "no URL") // its error repeats it
	}
	t, ok := s.transports[u.Scheme]
	if !ok {
		return nil, nil, status.Error(codes.NotFound, "no such transport")
	}
	return t, u, nil
}

// Resolve has the transport read a URL.
func (s *transportServer) Resolve(_ context.Context, r *transportv1.ResolveRequest) (*transportv1.ResolveResponse, error) {
	t, u, err := s.find(r.GetUrl())
	if err != nil {
		return nil, err
	}
	e, err := s.resolve(t, u)
	if err != nil {
		return &transportv1.ResolveResponse{Result: &transportv1.ResolveResponse_Failure{Failure: wire.Failure(err)}}, nil
	}
	return &transportv1.ResolveResponse{Result: &transportv1.ResolveResponse_Endpoint{Endpoint: wire.Endpoint(e)}}, nil
}

func (s *transportServer) resolve(t core.Transport, u *url.URL) (e core.Endpoint, err error) {
	defer contain(s.log, "transport "+t.Scheme(), &err)
	return t.Endpoint(u)
}

// Connect opens a stream and carries it.
func (s *transportServer) Connect(stream grpc.BidiStreamingServer[transportv1.ConnectRequest, transportv1.ConnectResponse]) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	open := request.GetOpen()
	if open == nil {
		return errOrder
	}
	t, _, err := s.find(open.GetUrl())
	if err != nil {
		return err
	}
	conn, err := s.dial(stream.Context(), t, wire.CoreEndpoint(open.GetUrl(), open.GetEndpoint()))
	if err != nil {
		return stream.Send(&transportv1.ConnectResponse{Step: &transportv1.ConnectResponse_Failure{Failure: wire.Failure(err)}})
	}
	c := &carried{conn: conn, stream: stream, log: s.log, what: "connection of transport " + t.Scheme()}
	defer c.close()
	if err := stream.Send(&transportv1.ConnectResponse{Step: &transportv1.ConnectResponse_Opened{Opened: wire.Opened(conn)}}); err != nil {
		return err
	}
	return c.carry()
}

func (s *transportServer) dial(ctx context.Context, t core.Transport, e core.Endpoint) (conn net.Conn, err error) {
	defer contain(s.log, "transport "+t.Scheme(), &err)
	conn, err = t.Dial(ctx, e)
	if err == nil && conn == nil {
		err = errors.New("it opened nothing: Dial returns a connection or an error")
	}
	if _, ok := errors.AsType[*core.Error](err); err != nil && !ok {
		// As a session takes it that dials by itself.
		err = &core.Error{Stage: core.StageConnect, Class: core.Temporary, Err: err}
	}
	return conn, err
}

const (
	// chunk is how much is read at a time.
	chunk = 32 << 10
	// maxEmptyReads is how often in a row a connection may return neither octets nor
	// an error.
	maxEmptyReads = 100
	// lastWords is how long what the server has said is still read when nothing can
	// be written to it any more.
	lastWords = time.Second
)

// carried is a connection whose octets are carried.
type carried struct {
	conn   net.Conn
	stream grpc.BidiStreamingServer[transportv1.ConnectRequest, transportv1.ConnectResponse]
	log    *slog.Logger
	what   string
}

// carry carries octets until either side ends.
func (c *carried) carry() error {
	// What reads or writes when the host goes away is woken.
	defer context.AfterFunc(c.stream.Context(), c.close)()
	over, unwritten := make(chan struct{}), make(chan error, 1)
	// It ends at the latest when the host's requests do: that is when this call is
	// over, at which it cannot be waited for.
	go func() {
		if err := c.write(); err != nil {
			unwritten <- err
			time.AfterFunc(lastWords, c.close)
			return
		}
		close(over)
		c.close()
	}()
	err := c.read()
	select {
	case <-over: // the host has closed
		return nil
	case err = <-unwritten:
	default:
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return c.stream.Send(&transportv1.ConnectResponse{Step: &transportv1.ConnectResponse_Failure{Failure: wire.Failure(err)}})
}

// read carries what the server sends. It returns io.EOF when the server has closed.
func (c *carried) read() (err error) {
	defer contain(c.log, c.what, &err)
	buffer := make([]byte, chunk)
	for empty := 0; ; empty++ {
		n, err := c.conn.Read(buffer)
		if n < 0 || n > len(buffer) || empty == maxEmptyReads {
			return io.ErrNoProgress
		}
		if n > 0 {
			empty = 0
			// The message is not ours any more when it is sent.
			octets := append([]byte(nil), buffer[:n]...)
			if err := c.stream.Send(&transportv1.ConnectResponse{Step: &transportv1.ConnectResponse_Octets{Octets: octets}}); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// write carries what the host sends. It returns nil when the host has closed, or is
// gone.
func (c *carried) write() (err error) {
	defer contain(c.log, c.what, &err)
	for {
		request, err := c.stream.Recv()
		if err != nil {
			return nil
		}
		octets, ok := request.GetStep().(*transportv1.ConnectRequest_Octets)
		if !ok {
			return errOrder
		}
		n, err := c.conn.Write(octets.Octets)
		if err == nil && n != len(octets.Octets) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return err
		}
	}
}

// close closes the connection, which may be closed already.
func (c *carried) close() {
	var err error
	defer contain(c.log, c.what, &err)
	_ = c.conn.Close()
}

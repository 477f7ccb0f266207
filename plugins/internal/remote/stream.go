package remote

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/core"
	mechanismv1 "github.com/postrider/postrider/plugins/proto/postrider/mechanism/v1"
)

// maxPause is how long an AUTH may wait for the server, longer than a session does.
// It is for users who do not close what they drop.
const maxPause = 10 * time.Minute

// stream is the stream of one AUTH. It is used by one goroutine.
type stream struct {
	link   Link
	conn   Call
	ctx    context.Context // of the stream: it ends with the first step that fails
	cancel context.CancelCauseFunc
	pause  *time.Timer
	grpc.BidiStreamingClient[mechanismv1.AuthenticateRequest, mechanismv1.AuthenticateResponse]
}

// open opens a stream. ctx is for that alone: each step has its own. Nothing of what
// it carries is sent: what the caller's calls of gRPC have, a token say, is not for a
// plugin.
func open(ctx context.Context, link Link, conn Call) (*stream, error) {
	own, cancel := context.WithCancelCause(context.Background())
	s := &stream{link: link, conn: conn, ctx: own, cancel: cancel}
	s.pause = time.AfterFunc(maxPause, func() { cancel(errLate) })
	release := limit(ctx, link.Timeout(), cancel)
	defer release()
	opened, err := mechanismv1.NewMechanismServiceClient(conn).Authenticate(own)
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	s.BidiStreamingClient = opened
	return s, nil
}

// ask sends a request and waits for its response. Its error ends the stream.
func (s *stream) ask(ctx context.Context, request *mechanismv1.AuthenticateRequest) (*mechanismv1.AuthenticateResponse, error) {
	s.pause.Stop()
	release := limit(ctx, s.link.Timeout(), s.cancel)
	// The error of Send is io.EOF if the stream has ended: Recv says why.
	err := s.Send(request)
	var response *mechanismv1.AuthenticateResponse
	if err == nil || errors.Is(err, io.EOF) {
		response, err = s.Recv()
	}
	release()
	if err == nil {
		err = s.ctx.Err() // the answer came as the stream was ended
	}
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	s.pause.Reset(maxPause)
	return response, nil
}

// fail ends the stream because of an error.
func (s *stream) fail(ctx context.Context, err error) *core.Error {
	e := explain(ctx, s.ctx, s.link, s.conn, core.StageAuth, err)
	s.close()
	return e
}

// violated ends the stream because of an answer to something else.
func (s *stream) violated() *core.Error { return s.fail(s.ctx, errViolation) }

// close ends the stream.
func (s *stream) close() {
	s.pause.Stop()
	s.cancel(nil)
}

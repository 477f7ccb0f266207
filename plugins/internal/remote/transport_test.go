package remote_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/remote"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
	transportv1 "github.com/postrider/postrider/plugins/proto/postrider/transport/v1"
)

// tunnel gives its answers, and ends.
type tunnel struct {
	transportv1.UnimplementedTransportServiceServer
	resolved *transportv1.ResolveResponse
	answers  []*transportv1.ConnectResponse
}

func (s *tunnel) Resolve(context.Context, *transportv1.ResolveRequest) (*transportv1.ResolveResponse, error) {
	return s.resolved, nil
}

func (s *tunnel) Connect(stream grpc.BidiStreamingServer[transportv1.ConnectRequest, transportv1.ConnectResponse]) error {
	for _, answer := range s.answers {
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

func (s *tunnel) transport(t *testing.T) core.Transport {
	t.Helper()
	return remote.NewTransport(serve(t, func(r grpc.ServiceRegistrar) { transportv1.RegisterTransportServiceServer(r, s) }), "corp+tunnel")
}

func octets(text string) *transportv1.ConnectResponse {
	return &transportv1.ConnectResponse{Step: &transportv1.ConnectResponse_Octets{Octets: []byte(text)}}
}

var (
	opened = &transportv1.ConnectResponse{Step: &transportv1.ConnectResponse_Opened{Opened: &transportv1.Opened{}}}
	failed = &transportv1.ConnectResponse{Step: &transportv1.ConnectResponse_Failure{Failure: &pluginv1.Failure{
		Class: pluginv1.Class_CLASS_TEMPORARY, Text: "the gateway is gone", Hint: "wait",
	}}}
)

// What is not an answer is a failure of the plugin.
func TestTransport_answersToSomethingElse(t *testing.T) {
	for rule, answer := range map[string]*transportv1.ConnectResponse{"octets before it is open": octets("220 hi"), "nothing": {}} {
		t.Run(rule, func(t *testing.T) {
			_, err := (&tunnel{answers: []*transportv1.ConnectResponse{answer}}).transport(t).Dial(t.Context(), core.Endpoint{})
			if e, ok := err.(*core.Error); !ok || e.Class != core.Temporary || e.Stage != core.StageConnect || !strings.Contains(err.Error(), "plugin corp: it breaks the protocol") {
				t.Errorf("%T %v", err, err)
			}
		})
	}
	_, err := (&tunnel{resolved: &transportv1.ResolveResponse{}}).transport(t).Endpoint(&url.URL{Scheme: "corp+tunnel"})
	if e, ok := err.(*core.Error); !ok || e.Class != core.Temporary || e.Stage != core.StageConfig || !strings.Contains(err.Error(), "plugin corp: it breaks the protocol") {
		t.Errorf("%T %v", err, err)
	}
}

func TestTransport_failures(t *testing.T) {
	_, err := (&tunnel{answers: []*transportv1.ConnectResponse{failed}}).transport(t).Dial(t.Context(), core.Endpoint{})
	if e, ok := err.(*core.Error); !ok || e.Class != core.Temporary || e.Hint != "wait" || !strings.Contains(err.Error(), "plugin corp: the gateway is gone") {
		t.Errorf("%T %v", err, err)
	}
	_, err = (&tunnel{resolved: &transportv1.ResolveResponse{Result: &transportv1.ResolveResponse_Failure{Failure: &pluginv1.Failure{}}}}).transport(t).Endpoint(&url.URL{})
	if core.ClassOf(err) != core.Local || !strings.Contains(err.Error(), "plugin corp: it gives no reason") {
		t.Error(err)
	}
}

// How a connection ends, behind the octets that came before that.
func TestTransport_ends(t *testing.T) {
	for _, tt := range []struct {
		rule string
		last []*transportv1.ConnectResponse
		says string // "" for io.EOF
	}{
		{"the server has closed", nil, ""},
		{"it breaks off", []*transportv1.ConnectResponse{failed}, "plugin corp: the gateway is gone"},
		{"it is opened again", []*transportv1.ConnectResponse{opened}, "plugin corp: it breaks the protocol"},
		{"no octets are none", []*transportv1.ConnectResponse{octets("")}, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := &tunnel{answers: append([]*transportv1.ConnectResponse{opened, octets("220 "), octets("hi")}, tt.last...)}
			conn, err := s.transport(t).Dial(t.Context(), core.Endpoint{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if string(got) != "220 hi" || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := conn.Write([]byte("QUIT\r\n")); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("writing to nobody: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

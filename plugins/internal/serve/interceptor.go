package serve

import (
	"context"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/plugins/internal/wire"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
)

// Interceptor decides about messages. Its functions are called by many goroutines at
// a time.
type Interceptor struct {
	Name  string
	Admit func(context.Context, *interceptorv1.Message) (*interceptorv1.Admitted, error)
	// Report is nil if nobody wants to know.
	Report func(context.Context, *interceptorv1.ReportRequest)
}

// interceptorServer serves interceptors.
type interceptorServer struct {
	interceptorv1.UnimplementedInterceptorServiceServer
	interceptors map[string]Interceptor
	log          *slog.Logger
}

func newInterceptorServer(list []Interceptor, log *slog.Logger) *interceptorServer {
	s := &interceptorServer{interceptors: make(map[string]Interceptor, len(list)), log: log}
	for _, i := range list {
		s.interceptors[i.Name] = i
	}
	return s
}

func (s *interceptorServer) find(name string) (Interceptor, error) {
	i, ok := s.interceptors[name]
	if !ok {
		return Interceptor{}, status.Error(codes.NotFound, "no such interceptor")
	}
	return i, nil
}

// Admit has an interceptor decide.
func (s *interceptorServer) Admit(ctx context.Context, r *interceptorv1.AdmitRequest) (*interceptorv1.AdmitResponse, error) {
	i, err := s.find(r.GetInterceptor())
	if err != nil {
		return nil, err
	}
	admitted, err := s.admit(ctx, i, r.GetMessage())
	if err != nil {
		return &interceptorv1.AdmitResponse{Decision: &interceptorv1.AdmitResponse_Refused{Refused: wire.Failure(err)}}, nil
	}
	admitted.WantsReport = i.Report != nil
	return &interceptorv1.AdmitResponse{Decision: &interceptorv1.AdmitResponse_Admitted{Admitted: admitted}}, nil
}

func (s *interceptorServer) admit(ctx context.Context, i Interceptor, m *interceptorv1.Message) (admitted *interceptorv1.Admitted, err error) {
	defer contain(s.log, "interceptor "+i.Name, &err)
	return i.Admit(ctx, m)
}

// Report has an interceptor hear what became of a message. What it does about that
// is its own.
func (s *interceptorServer) Report(ctx context.Context, r *interceptorv1.ReportRequest) (*interceptorv1.ReportResponse, error) {
	i, err := s.find(r.GetInterceptor())
	if err != nil {
		return nil, err
	}
	if i.Report != nil {
		defer contain(s.log, "interceptor "+i.Name, &err)
		i.Report(ctx, r)
	}
	return &interceptorv1.ReportResponse{}, nil
}

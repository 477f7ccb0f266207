package serve_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/plugins/internal/serve"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
)

func admit(context.Context, *interceptorv1.Message) (*interceptorv1.Admitted, error) {
	return &interceptorv1.Admitted{}, nil
}

// A host that asks for something else is told so by a status. One that reports
// unasked is heard.
func TestInterceptor_order(t *testing.T) {
	client := interceptorv1.NewInterceptorServiceClient(dial(t))
	if _, err := client.Admit(t.Context(), &interceptorv1.AdmitRequest{Interceptor: "other"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	if _, err := client.Report(t.Context(), &interceptorv1.ReportRequest{Interceptor: "other"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	if r, err := client.Admit(t.Context(), &interceptorv1.AdmitRequest{Interceptor: "policy"}); err != nil || r.GetAdmitted() == nil || r.GetAdmitted().GetWantsReport() {
		t.Error(r, err)
	}
	if _, err := client.Report(t.Context(), &interceptorv1.ReportRequest{Interceptor: "policy"}); err != nil {
		t.Error(err)
	}
}

func TestRegister_refusesInterceptors(t *testing.T) {
	for says, list := range map[string][]serve.Interceptor{
		"the interceptor policy is nil":               {{Name: "policy"}},
		"two of its interceptors are named policy":    {{Name: "policy", Admit: admit}, {Name: "policy", Admit: admit}},
		`its interceptor "a policy": use 1 to 64 let`: {{Name: "a policy", Admit: admit}},
	} {
		if err := (&serve.Plugin{Name: "test", Interceptors: list}).Register(grpc.NewServer()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

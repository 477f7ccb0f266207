package remote_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/plugins/internal/remote"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// admitter answers each request in the same way.
type admitter struct {
	interceptorv1.UnimplementedInterceptorServiceServer
	answer   *interceptorv1.AdmitResponse
	asked    []*interceptorv1.AdmitRequest
	metadata metadata.MD
}

func (a *admitter) Admit(ctx context.Context, r *interceptorv1.AdmitRequest) (*interceptorv1.AdmitResponse, error) {
	a.metadata, _ = metadata.FromIncomingContext(ctx)
	a.asked = append(a.asked, r)
	return a.answer, nil
}

// link serves the admitter.
func (a *admitter) link(t *testing.T) *link {
	t.Helper()
	return serve(t, func(r grpc.ServiceRegistrar) { interceptorv1.RegisterInterceptorServiceServer(r, a) })
}

// client makes a client that asks the admitter, with another interceptor in front of
// that and one behind it, if they have a name.
func (a *admitter) client(t *testing.T, inFront, behind core.Interceptor) (*core.Client, *smtptest.Server) {
	t.Helper()
	server := smtptest.NewServer(t, smtptest.ServerOptions{})
	config := server.Config()
	for _, i := range []core.Interceptor{inFront, remote.NewInterceptor(a.link(t), "corp", "policy", slog.New(slog.DiscardHandler)), behind} {
		if i.Name != "" {
			config.Interceptors = append(config.Interceptors, i)
		}
	}
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, server
}

func letter() *core.Message {
	return &core.Message{From: "ann@example.com", To: core.Recipients("bob@example.net", "carol@example.net"), Body: core.String("Subject: hi\r\n\r\nhi\r\n")}
}

func admitted(a *interceptorv1.Admitted) *interceptorv1.AdmitResponse {
	return &interceptorv1.AdmitResponse{Decision: &interceptorv1.AdmitResponse_Admitted{Admitted: a}}
}

func address(index uint32, to string) *interceptorv1.Decision {
	return &interceptorv1.Decision{Index: index, Decision: &interceptorv1.Decision_Address{Address: to}}
}

// What the protocol does not have is one temporary error for all, and nothing of it
// is done.
func TestInterceptor_violations(t *testing.T) {
	field := func(name, value string) *interceptorv1.AdmitResponse {
		return admitted(&interceptorv1.Admitted{Fields: []*interceptorv1.Field{{Name: name, Value: value}}})
	}
	for _, tt := range []struct {
		rule   string
		answer *interceptorv1.AdmitResponse
		says   string
	}{
		{"nothing is decided", &interceptorv1.AdmitResponse{}, "its answer is not to what was asked"},
		{"an index that there is not", admitted(&interceptorv1.Admitted{Decisions: []*interceptorv1.Decision{address(2, "x@example.net")}}), "no recipient with the index 2: the message has 2"},
		{"an index that is no int32", admitted(&interceptorv1.Admitted{Decisions: []*interceptorv1.Decision{address(1<<32-1, "x@example.net")}}), "no recipient with the index 4294967295"},
		{"an index twice", admitted(&interceptorv1.Admitted{Decisions: []*interceptorv1.Decision{address(1, "x@example.net"), address(1, "y@example.net")}}), "the index 1 stands twice"},
		{"nothing about a recipient", admitted(&interceptorv1.Admitted{Decisions: []*interceptorv1.Decision{{}}}), "nothing is decided about the recipient with the index 0"},
		{"no address", admitted(&interceptorv1.Admitted{Decisions: []*interceptorv1.Decision{address(1, "")}}), "recipient 2: empty address"},
		{"a line end in an address", admitted(&interceptorv1.Admitted{Decisions: []*interceptorv1.Decision{address(1, "x@example.net>\r\nRSET")}}), "control character"},
		{"a reverse-path that is none", admitted(&interceptorv1.Admitted{ReversePath: new("<>")}), "sender: address"},
		{"a line end in a field", field("X-A", "a\r\nBcc: eve@example.net"), `header field 1 ("X-A"): a value is one line`},
		{"a lone line feed", field("X-A", "a\n b"), "a value is one line"},
		{"NUL", field("X-A", "a\x00"), "a value is one line"},
		{"8-bit text", field("X-A", "é"), "RFC 2047"},
		{"no name", field("", "a"), "a name has 1 to 64 printable ASCII characters"},
		{"a colon in a name", field("X:A", "a"), "a name has"},
		{"a space in a name", field("X A", "a"), "a name has"},
		{"a line end in a name", field("X\r\nA", "a"), "a name has"},
		{"a word that no line holds", field("X-A", strings.Repeat("a", 998)), "a word of 998 octets fits on no line"},
		{"101 fields", admitted(&interceptorv1.Admitted{Fields: make([]*interceptorv1.Field, 101)}), "101 header fields, and 100 are the most"},
		{"more than 64 KiB", field("X-A", strings.Repeat("a ", 40<<10)), "more than 65536 octets"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			a := &admitter{answer: tt.answer}
			client, server := a.client(t, core.Interceptor{}, core.Interceptor{})
			receipt, err := client.Send(t.Context(), letter())
			if receipt.Count(core.Deferred) != 2 || !errors.Is(err, remote.ErrBroken) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %s", err, tt.says)
			}
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Stage != core.StagePolicy || e.Class != core.Temporary || !strings.Contains(err.Error(), "policy: plugin corp: it breaks the protocol: ") {
				t.Errorf("%T %v", err, err)
			}
			if len(server.Messages()) != 0 || client.Stats().Opened != 0 {
				t.Error("something was sent")
			}
		})
	}
}

// The limits themselves will do.
func TestInterceptor_theLargestHeader(t *testing.T) {
	a := &admitter{answer: admitted(&interceptorv1.Admitted{Fields: []*interceptorv1.Field{
		{Name: strings.Repeat("N", 64), Value: "   a"},
		{Name: "X-Word", Value: strings.Repeat("w", 997)},
		{Name: "X-Long", Value: strings.Repeat("a ", 10<<10)},
	}})}
	client, server := a.client(t, core.Interceptor{}, core.Interceptor{})
	if _, err := client.Send(t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	content := string(server.Messages()[0].Content)
	if !strings.HasPrefix(content, strings.Repeat("N", 64)+": a\r\nX-Word:\r\n "+strings.Repeat("w", 997)+"\r\nX-Long: a a ") {
		t.Errorf("%.1500s", content)
	}
	for line := range strings.SplitSeq(content, "\r\n") {
		if len(line) > 78 && !strings.Contains(line, "www") {
			t.Errorf("a line of %d octets", len(line))
		}
	}
}

func TestInterceptor_whatTheCallersContextCarriesIsNotSent(t *testing.T) {
	a := &admitter{answer: admitted(nil)}
	client, _ := a.client(t, core.Interceptor{}, core.Interceptor{})
	if _, err := client.Send(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer hunter2"), letter()); err != nil {
		t.Fatal(err)
	}
	if got := a.metadata.Get("authorization"); got != nil || len(a.asked) != 1 || a.asked[0].GetInterceptor() != "policy" {
		t.Errorf("%v, %v", got, a.asked)
	}
}

func TestInterceptor_aRefusalWithoutATextHasOne(t *testing.T) {
	a := &admitter{answer: &interceptorv1.AdmitResponse{Decision: &interceptorv1.AdmitResponse_Refused{Refused: &pluginv1.Failure{}}}}
	client, _ := a.client(t, core.Interceptor{}, core.Interceptor{})
	receipt, err := client.Send(t.Context(), letter())
	if receipt.Count(core.Refused) != 2 || !strings.Contains(err.Error(), "interceptor policy of plugin corp: it gives no reason") {
		t.Error(err)
	}
}

// Who was refused in front of it stays so, with the reason for it.
func TestInterceptor_whoWasRefusedBefore(t *testing.T) {
	a := &admitter{answer: admitted(&interceptorv1.Admitted{Decisions: []*interceptorv1.Decision{
		{Index: 0, Decision: &interceptorv1.Decision_Refused{Refused: &pluginv1.Failure{Text: "a"}}},
	}})}
	suppressed := errors.New("suppressed")
	client, _ := a.client(t, core.Interceptor{Name: "suppression", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			d.Refuse(0, suppressed)
			return next(ctx, d)
		}
	}}, core.Interceptor{})
	receipt, _ := client.Send(t.Context(), letter())
	if !errors.Is(receipt.Recipients[0].Err, suppressed) || receipt.Recipients[1].Outcome != core.Accepted {
		t.Errorf("%+v", receipt.Recipients)
	}
}

// The fields are in the context of the delivery: without it nothing is sent.
func TestInterceptor_aContextThatIsDropped(t *testing.T) {
	a := &admitter{answer: admitted(nil)}
	client, server := a.client(t, core.Interceptor{}, core.Interceptor{Name: "drops", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(_ context.Context, d *core.Delivery) error { return next(context.Background(), d) }
	}})
	receipt, err := client.Send(t.Context(), letter())
	if receipt.Count(core.Refused) != 2 || !strings.Contains(err.Error(), "an interceptor gives next its context") || len(server.Messages()) != 0 {
		t.Error(err)
	}
}

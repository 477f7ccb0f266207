package remote

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/plugins/internal/wire"
	"github.com/postrider/postrider/plugins/proto"
	interceptorv1 "github.com/postrider/postrider/plugins/proto/postrider/interceptor/v1"
	pluginv1 "github.com/postrider/postrider/plugins/proto/postrider/plugin/v1"
)

// interceptor is an interceptor that runs in a plugin. It is also the key of what it
// keeps in the context of a delivery: the header fields.
type interceptor struct {
	link Link
	name string
	log  *slog.Logger
}

// NewInterceptor returns an interceptor of a plugin that calls itself so. What cannot
// be reported to the plugin is logged.
func NewInterceptor(link Link, plugin, name string, log *slog.Logger) core.Interceptor {
	i := &interceptor{link, name, log}
	return core.Interceptor{Name: plugin + "/" + name, Delivery: i.delivery, Content: i.content}
}

// delivery asks the plugin, does what it says, and tells it what became of that.
func (i *interceptor) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) error {
		if d.Receipt().Attempts > 0 {
			return &core.Error{
				Stage: core.StagePolicy, Class: core.Local, Hint: "put it in front of the interceptor that tries again",
				Err: fmt.Errorf("interceptor %s of plugin %s stands behind another attempt", i.name, i.link.Plugin()),
			}
		}
		id := rand.Text()
		admitted, err := i.admit(ctx, id, d)
		if err != nil {
			return err
		}
		if err := i.rewrite(d, admitted); err != nil {
			return err
		}
		deferred := i.refuse(d, admitted.Refused)
		err = next(context.WithValue(ctx, i, admitted.Header), d)
		for n, why := range deferred {
			d.Refuse(n, why)
		}
		if admitted.WantsReport {
			i.report(ctx, id, d.Receipt(), err)
		}
		return err
	}
}

// resultRoom is how much of a report each recipient has, in octets, beside its
// address and the text, at most.
const resultRoom = 40

// admit asks the plugin about a message. The error says that it is not to be sent.
func (i *interceptor) admit(ctx context.Context, id string, d *core.Delivery) (*wire.Admitted, error) {
	request := &interceptorv1.AdmitRequest{Interceptor: i.name, Message: wire.Envelope(id, d.Endpoint(), d.Message())}
	recipients := len(d.Message().To)
	// The report of it must not be too large either.
	if n := protobuf.Size(request) + resultRoom*recipients; n > proto.MaxMessage {
		return nil, &core.Error{
			Stage: core.StagePolicy, Class: core.Local, Hint: "send it to fewer recipients at a time",
			Err: fmt.Errorf("the envelope, of %d recipients, is too large for interceptor %s of plugin %s: it takes %d octets, and %d are the most", recipients, i.name, i.link.Plugin(), n, proto.MaxMessage),
		}
	}
	var response *interceptorv1.AdmitResponse
	err := i.call(ctx, i.link.Timeout(), func(ctx context.Context, client interceptorv1.InterceptorServiceClient) (err error) {
		response, err = client.Admit(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	switch decision := response.GetDecision().(type) {
	case *interceptorv1.AdmitResponse_Admitted:
		admitted, err := wire.ReadAdmitted(decision.Admitted, recipients)
		if err != nil {
			return nil, i.broken(err)
		}
		return admitted, nil
	case *interceptorv1.AdmitResponse_Refused:
		return nil, i.refusal(decision.Refused)
	}
	return nil, failed(i.link, core.StagePolicy, errViolation)
}

// call makes a call. Nothing of what the caller's context carries is sent.
func (i *interceptor) call(ctx context.Context, timeout time.Duration, do func(context.Context, interceptorv1.InterceptorServiceClient) error) error {
	conn, err := i.link.Call()
	if err != nil {
		return failed(i.link, core.StagePolicy, err)
	}
	own, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	release := limit(ctx, timeout, cancel)
	err = do(own, interceptorv1.NewInterceptorServiceClient(conn))
	release()
	if err != nil {
		return explain(ctx, own, i.link, conn, core.StagePolicy, err)
	}
	return nil
}

// broken is an answer that the protocol does not have.
func (i *interceptor) broken(err error) *core.Error {
	return failed(i.link, core.StagePolicy, fmt.Errorf("%w: %w", ErrBroken, err))
}

// refusal is what the interceptor says against a message, or a recipient.
func (i *interceptor) refusal(f *pluginv1.Failure) *core.Error {
	return &core.Error{
		Stage: core.StagePolicy, Class: wire.Class(f), Hint: wire.Hint(f),
		Err: fmt.Errorf("interceptor %s of plugin %s: %w", i.name, i.link.Plugin(), reason(f)),
	}
}

// rewrite changes the envelope.
func (i *interceptor) rewrite(d *core.Delivery, a *wire.Admitted) error {
	if a.From == nil && len(a.Redirected) == 0 {
		return nil
	}
	m := *d.Message()
	m.To = slices.Clone(m.To)
	if a.From != nil {
		m.From = *a.From
	}
	for n, address := range a.Redirected {
		m.To[n].Address = address
	}
	if err := d.Rewrite(&m); err != nil {
		return i.broken(err)
	}
	return nil
}

// refuse settles recipients who are not to be tried. It returns those who are
// deferred: next would try them, so that is said when it has returned.
func (i *interceptor) refuse(d *core.Delivery, refused map[int]*pluginv1.Failure) (deferred map[int]error) {
	for n, f := range refused {
		if d.Receipt().Recipients[n].Outcome != core.Pending {
			continue // somebody else has refused them before
		}
		why := i.refusal(f)
		if why.Class == core.Temporary {
			if deferred == nil {
				deferred = make(map[int]error, len(refused))
			}
			deferred[n] = why
			held := *why
			held.Class, why = core.Local, &held
		}
		d.Refuse(n, why)
	}
	return deferred
}

// lastWords is how long a plugin has to hear of a delivery whose context has ended.
const lastWords = 100 * time.Millisecond

// maxResultText is how much of the reason a plugin hears, in octets.
const maxResultText = 1024

// report tells the plugin what became of a delivery.
func (i *interceptor) report(ctx context.Context, id string, r *core.Receipt, err error) {
	request := wire.Report(id, r, err, maxResultText)
	request.Interceptor = i.name
	if protobuf.Size(request) > proto.MaxMessage {
		request.Results = wire.Report(id, r, err, 0).Results
		left := proto.MaxMessage - protobuf.Size(request)
		request.Results = wire.Report(id, r, err, left/len(r.Recipients)).Results
	}
	timeout := i.link.Timeout()
	if ctx.Err() != nil {
		ctx, timeout = context.WithoutCancel(ctx), min(timeout, lastWords)
	}
	if err := i.call(ctx, timeout, func(ctx context.Context, client interceptorv1.InterceptorServiceClient) error {
		_, err := client.Report(ctx, request)
		return err
	}); err != nil {
		i.log.WarnContext(ctx, "the plugin was not told what became of a delivery", "interceptor", i.name, "error", err)
	}
}

// content puts the header fields in front.
func (i *interceptor) content(next core.ContentFunc) core.ContentFunc {
	return func(ctx context.Context, c *core.Content) error {
		header, ok := ctx.Value(i).(string)
		if !ok {
			return &core.Error{
				Stage: core.StagePolicy, Class: core.Local, Hint: "an interceptor gives next its context, or one made from it",
				Err: fmt.Errorf("the context of the delivery has not come to interceptor %s of plugin %s", i.name, i.link.Plugin()),
			}
		}
		if header != "" {
			c.Prepend(header)
		}
		return next(ctx, c)
	}
}

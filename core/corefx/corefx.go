// Package corefx assembles a [core.Client] in an application that uses
// go.uber.org/fx.
//
// [Module] provides a *core.Client, made from the core.Config that the
// application provides and from what was added to it: transports with
// [AsTransport], mechanisms with [AsMechanism], interceptors with
// [AsInterceptor]. Any module may add some; none has to know the others.
//
//	fx.New(
//		corefx.Module, transportfx.Module, mechanismsfx.Module,
//		fx.Provide(NewConfig),
//		corefx.AsInterceptor(corefx.Admit, NewAudit),
//		corefx.AsMechanism(NewTicket),
//		fx.Invoke(RunMailer),
//	).Run()
//
// The constructors are ordinary ones: what works by hand works here, unchanged.
//
// # Order
//
// In fx the members of a group come in no particular order, and the order of
// interceptors and mechanisms matters. Here it depends on nothing but what they
// are. Interceptors are ordered by their [Stage], the outermost first; within a
// stage those that sign content come last, and then their names decide.
// Mechanisms that stand in core.Config.Auth come first, in that order, and then
// those that were added, as [AsMechanism] says. Two of one name are refused, and
// the error names both origins.
//
// # Lifecycle
//
// The client is made, and its configuration checked, when something in the
// application asks for it. Nothing is opened then, nor when the application
// starts: the first message opens a session, unless [ConnectAtStart] is added.
// When the application stops, the
// client is shut down, after everything that was constructed with it has
// stopped: messages that are being sent have the application's stop timeout to
// end. A tenth of that, and at most a second, is left to what the client was
// constructed with.
package corefx

import (
	"context"
	"time"

	"go.uber.org/fx"

	"github.com/postrider/postrider/core"
)

// Module provides a *core.Client. It needs a core.Config, with an Endpoint at
// least, and transports, in it or added.
var Module = fx.Module("postrider", fx.Provide(New))

// ConnectAtStart has the client open a session when the application starts, so
// that one whose server cannot be reached, or does not accept the credentials,
// does not start. The application's start timeout bounds it.
var ConnectAtStart = fx.Module("postrider.connect", fx.Invoke(func(l fx.Lifecycle, c *core.Client) {
	l.Append(fx.StartHook(inTime{c}.Connect))
}))

// Params are the parameters of [New].
type Params struct {
	fx.In

	// Lifecycle closes the client when the application stops. Outside fx it may
	// be nil, and the caller closes the client.
	Lifecycle fx.Lifecycle
	// Config is where to send and how. Its Transports and Auth are completed
	// with those below. If its Interceptors are set, they are all there are:
	// they have an order and no stages, so nothing can be put among them.
	Config core.Config

	Transports   []Transport   `group:"postrider.transports"`
	Mechanisms   []Mechanism   `group:"postrider.mechanisms"`
	Interceptors []Interceptor `group:"postrider.interceptors"`
}

// Result is the result of [New].
type Result struct {
	fx.Out

	Client *core.Client
}

// New assembles a client. The order of the members of each group is of no
// consequence.
func New(p Params) (Result, error) {
	config := p.Config
	var err error
	if config.Transports, err = mergeTransports(config.Transports, p.Transports); err != nil {
		return Result{}, configError(err)
	}
	if config.Auth, err = mergeMechanisms(config.Auth, p.Mechanisms); err != nil {
		return Result{}, configError(err)
	}
	if config.Interceptors, err = mergeInterceptors(config.Interceptors, p.Interceptors); err != nil {
		return Result{}, configError(err)
	}
	client, err := core.NewClient(config)
	if err != nil {
		return Result{}, err
	}
	if p.Lifecycle != nil {
		p.Lifecycle.Append(fx.StopHook(inTime{client}.Shutdown))
	}
	return Result{Client: client}, nil
}

// inTime has hooks of the client that end before the time is over that all hooks
// share: fx calls none any more then, and what the client was made of would not be
// stopped.
type inTime struct{ client *core.Client }

// Connect is that of the client.
func (t inTime) Connect(ctx context.Context) error {
	ctx, cancel := earlier(ctx)
	defer cancel()
	return t.client.Connect(ctx)
}

// Shutdown is that of the client.
func (t inTime) Shutdown(ctx context.Context) error {
	ctx, cancel := earlier(ctx)
	defer cancel()
	return t.client.Shutdown(ctx)
}

// earlier leaves a tenth of the time, and at most a second.
func earlier(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/10, time.Second)))
}

// configError makes an error like those of core.NewClient.
func configError(err error) error {
	return &core.Error{Stage: core.StageConfig, Class: core.Local, Err: err}
}

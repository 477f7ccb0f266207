package corefx_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/corefx"
	"github.com/postrider/postrider/mechanisms"
	"github.com/postrider/postrider/mechanisms/mechanismsfx"
	"github.com/postrider/postrider/transport"
	"github.com/postrider/postrider/transport/transportfx"
)

// record is what an application's own interceptors write down.
type record struct {
	mu    sync.Mutex
	lines []string
}

func (r *record) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// newAudit, newStamp and newDialogue are the constructors of an application,
// which know nothing of fx.
func newAudit(r *record) core.Interceptor {
	return core.Interceptor{Name: "audit", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			err := next(ctx, d)
			r.add("audit: %d accepted", d.Receipt().Count(core.Accepted))
			return err
		}
	}}
}

func newStamp(r *record) (core.Interceptor, error) {
	return core.Interceptor{Name: "stamp", Content: func(next core.ContentFunc) core.ContentFunc {
		return func(ctx context.Context, c *core.Content) error {
			r.add("stamp")
			c.Prepend("X-Stamp: 1\r\n")
			return next(ctx, c)
		}
	}}, nil
}

func newDialogue(r *record) core.Interceptor {
	return core.Interceptor{Name: "dialogue", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
		return func(ctx context.Context, x *core.Exchange) error {
			err := next(ctx, x)
			for command, replies := range x.Pairs() {
				if command != nil {
					r.add("C: %s", command)
				}
				for _, reply := range replies {
					r.add("S: %s", reply)
				}
			}
			return err
		}
	}}
}

// newTicket is a mechanism of the application's own, which the server does not
// offer.
func newTicket() *ticket { return &ticket{} }

type ticket struct{}

func (*ticket) Name() string { return "X-TICKET" }
func (*ticket) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return nil, nil, errors.New("the server does not offer it")
}

// outcome is everything that can be seen of a delivery.
type outcome struct {
	Pipeline []string
	Results  []core.RecipientResult
	Err      string
	Received []received
	Record   []string
}

// deliver sends one message and says all that became of it.
func deliver(t *testing.T, client *core.Client, s *server) outcome {
	t.Helper()
	receipt, err := client.Send(t.Context(), &core.Message{
		From: "ann@example.com",
		To:   core.Recipients("bob@example.net", "nobody@example.net", "carol@example.net"),
		Body: core.String("From: ann@example.com\nSubject: hello\n\nOne.\n.\nTwo.\n"),
	})
	results := append([]core.RecipientResult(nil), receipt.Recipients...)
	for i := range results {
		results[i].Err = nil // its text is in Err
	}
	return outcome{Pipeline: client.Pipeline(), Results: results, Err: fmt.Sprint(err), Received: s.messages()}
}

// The promise of the package: the same client by hand and by fx.
func TestByHandAndByFx(t *testing.T) {
	byHand := func() outcome {
		s, r := startServer(t), &record{}
		stamp, err := newStamp(r)
		if err != nil {
			t.Fatal(err)
		}
		client, err := core.NewClient(core.Config{
			Endpoint:     s.url,
			LocalName:    "client.example.com",
			Transports:   transport.Standard(),
			Auth:         append([]core.Mechanism{newTicket()}, mechanisms.Password("ann", "correct horse")...),
			Interceptors: []core.Interceptor{newAudit(r), stamp, newDialogue(r)},
		})
		if err != nil {
			t.Fatal(err)
		}
		o := deliver(t, client, s)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		o.Record = r.lines
		return o
	}()

	byFx := func() outcome {
		s, r := startServer(t), &record{}
		var client *core.Client
		app := fxtest.New(t,
			corefx.Module, transportfx.Module, mechanismsfx.Module,
			fx.Supply(r, mechanismsfx.Credentials{User: "ann", Password: "correct horse"}),
			fx.Provide(func() core.Config { return core.Config{Endpoint: s.url, LocalName: "client.example.com"} }),
			corefx.AsInterceptor(corefx.Wire, newDialogue),
			corefx.AsInterceptor(corefx.Admit, newAudit),
			corefx.AsInterceptor(corefx.Transform, newStamp),
			corefx.AsMechanism(newTicket),
			fx.Populate(&client),
		).RequireStart()
		o := deliver(t, client, s)
		app.RequireStop() // closes the client
		o.Record = r.lines
		if _, err := client.Send(t.Context(), &core.Message{To: core.Recipients("bob@example.net"), Body: core.String("")}); !errors.Is(err, core.ErrClosed) {
			t.Errorf("after the application stopped, Send returned %v, want ErrClosed", err)
		}
		return o
	}()

	if !reflect.DeepEqual(byHand, byFx) {
		t.Errorf("by hand:\n%+v\nby fx:\n%+v", byHand, byFx)
	}
	if want := []string{"audit", "stamp", "dialogue"}; !reflect.DeepEqual(byFx.Pipeline, want) {
		t.Errorf("pipeline %v, want %v", byFx.Pipeline, want)
	}
	if len(byFx.Received) != 1 || byFx.Received[0].user != "ann" || !strings.HasPrefix(byFx.Received[0].content, "X-Stamp: 1\r\nFrom:") {
		t.Errorf("the server received %+v", byFx.Received)
	}
	if all := strings.Join(byFx.Record, "\n"); !strings.Contains(all, "C: QUIT") || strings.Contains(all, "horse") {
		t.Errorf("dialogue without a QUIT, or with a password:\n%s", all)
	}
}

func TestNewWithoutFx(t *testing.T) {
	s := startServer(t)
	result, err := corefx.New(corefx.Params{
		Config:       core.Config{Endpoint: s.url, Transports: transport.Standard()},
		Mechanisms:   []corefx.Mechanism{{Mechanism: mechanisms.Plain("ann", "correct horse")}},
		Interceptors: []corefx.Interceptor{{Interceptor: newAudit(&record{}), Stage: corefx.Admit}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := result.Client.Send(t.Context(), &core.Message{To: core.Recipients("bob@example.net"), Body: core.String("hello")}); err != nil {
		t.Error(err)
	}
	if err := result.Client.Close(); err != nil {
		t.Error(err)
	}
}

func TestValidateApp(t *testing.T) {
	for name, options := range map[string][]fx.Option{
		"nothing added": {fx.Supply(core.Config{})},
		"everything added": {
			transportfx.Module, mechanismsfx.Module, fx.Supply(core.Config{}, &record{}),
			corefx.AsInterceptor(corefx.Admit, newAudit), corefx.AsInterceptor(corefx.Transform, newStamp),
			corefx.AsMechanism(newTicket), corefx.AsMechanism(func() (core.Mechanism, error) { return nil, nil }),
			corefx.AsTransport(func() (core.Transport, error) { return nil, nil }),
		},
	} {
		if err := fx.ValidateApp(append(options, corefx.Module, fx.NopLogger, fx.Invoke(func(*core.Client) {}))...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A module of the application can add what needs something that is private to
// it.
func TestAddedByAModule(t *testing.T) {
	mail := fx.Module("mail",
		fx.Provide(fx.Private, func() *record { return &record{} }),
		corefx.AsInterceptor(corefx.Admit, newAudit),
		corefx.AsMechanism(newTicket),
	)
	other := fx.Module("other",
		fx.Provide(fx.Private, func() *record { return &record{} }),
		corefx.AsInterceptor(corefx.Transform, newStamp),
	)
	var client *core.Client
	fxtest.New(t, corefx.Module, transportfx.Module, mail, other, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1"}), fx.Populate(&client)).RequireStart().RequireStop()
	if want := []string{"audit", "stamp"}; !reflect.DeepEqual(client.Pipeline(), want) {
		t.Errorf("pipeline %v, want %v", client.Pipeline(), want)
	}
}

// Constructors of the middleware are added as they are.
func TestVariadicConstructor(t *testing.T) {
	var client *core.Client
	constructor := func(options ...fmt.Stringer) (core.Interceptor, error) { return newAudit(&record{}), nil }
	fxtest.New(t, corefx.Module, transportfx.Module, corefx.AsInterceptor(corefx.Observe, constructor), fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1"}), fx.Populate(&client)).RequireStart().RequireStop()
	if len(client.Pipeline()) != 1 {
		t.Errorf("pipeline %v", client.Pipeline())
	}
}

// Nothing but a configuration, which brings its own transports: the groups may
// be empty.
func TestEmptyGroups(t *testing.T) {
	var client *core.Client
	app := fxtest.New(t, corefx.Module, fx.Supply(core.Config{Endpoint: "smtp://127.0.0.1", Transports: transport.Standard()}), fx.Populate(&client))
	app.RequireStart().RequireStop()
	if p := client.Pipeline(); len(p) != 0 {
		t.Errorf("pipeline %v, want none", p)
	}
}

func TestConnectAtStart(t *testing.T) {
	s := startServer(t)
	options := func(password string) fx.Option {
		return fx.Options(corefx.Module, transportfx.Module, mechanismsfx.Module, corefx.ConnectAtStart, fx.NopLogger,
			fx.Supply(mechanismsfx.Credentials{User: "ann", Password: password}, core.Config{Endpoint: s.url}))
	}
	var client *core.Client
	app := fxtest.New(t, options("correct horse"), fx.Populate(&client)).RequireStart()
	if got := client.Stats(); got.Idle != 1 {
		t.Errorf("after the start there is %+v", got)
	}
	app.RequireStop()
	if err := fx.New(options("wrong")).Start(t.Context()); !errors.Is(err, core.ErrAuthentication) {
		t.Errorf("with a wrong password the start says %v", err)
	}
}

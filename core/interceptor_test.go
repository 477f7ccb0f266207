package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// with puts interceptors into a configuration.
func with(list ...core.Interceptor) func(*core.Config) {
	return func(c *core.Config) { c.Interceptors = list }
}

// tracer notes when each kind of work begins and ends.
func tracer(name string, trace *[]string) core.Interceptor {
	note := func(kind string, work func() error) error {
		*trace = append(*trace, name+" "+kind+" {")
		err := work()
		*trace = append(*trace, "} "+name+" "+kind)
		return err
	}
	return core.Interceptor{
		Name: name,
		Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				return note("delivery", func() error { return next(ctx, d) })
			}
		},
		Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				return note("attempt", func() error { return next(ctx, a) })
			}
		},
		Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error {
				return note("content", func() error { return next(ctx, c) })
			}
		},
		Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error {
				return note("connect", func() error { return next(ctx, c) })
			}
		},
		Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
			return func(ctx context.Context, x *core.Exchange) error {
				kind := "greeting"
				if len(x.Commands) > 0 {
					kind = x.Commands[0].Verb
				}
				return note(kind, func() error { return next(ctx, x) })
			}
		},
	}
}

func TestInterceptors_theFirstIsTheOutermost(t *testing.T) {
	var trace []string
	c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(tracer("A", &trace), tracer("B", &trace)))
	if got := c.Pipeline(); !slices.Equal(got, []string{"A", "B"}) {
		t.Errorf("Pipeline() = %q", got)
	}
	if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
		t.Fatal(err)
	}
	want := "A delivery { B delivery {" +
		" A connect { B connect {" +
		" A greeting { B greeting { } B greeting } A greeting" +
		" A EHLO { B EHLO { } B EHLO } A EHLO" +
		" } B connect } A connect" +
		" A attempt { B attempt {" +
		" A content { B content { } B content } A content" +
		" A MAIL { B MAIL { } B MAIL } A MAIL" +
		" A . { B . { } B . } A ." +
		" } B attempt } A attempt" +
		" } B delivery } A delivery"
	if got := strings.Join(trace, " "); got != want {
		t.Errorf("the work was done as\n%s\nwant\n%s", got, want)
	}
}

// misbehaviour is something that an interceptor must not do, for each kind.
func TestInterceptors_misbehaviourIsContained_J8(t *testing.T) {
	mine := errors.New("I object")
	good := pipelining + envelope + goOn + sent + bye
	for _, tt := range []struct {
		rule     string
		i        core.Interceptor
		dialogue string
		outcome  string
		kind     error
		again    bool // another message is sent on the same session
	}{
		{"a delivery that is refused connects to nobody", core.Interceptor{Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(context.Context, *core.Delivery) error { return mine }
		}}, "", "refused", mine, false},
		{"a delivery that is refused temporarily is deferred", core.Interceptor{Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(context.Context, *core.Delivery) error {
				return &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: mine}
			}
		}}, "", "deferred", mine, false},
		{"a delivery that nobody did is no success", core.Interceptor{Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(context.Context, *core.Delivery) error { return nil }
		}}, "", "refused", core.ErrNextSkipped, false},
		{"a delivery that fails after everybody was accepted is a success", core.Interceptor{Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error { return errors.Join(next(ctx, d), mine) }
		}}, good, "accepted 250", nil, false},
		{"a delivery done twice reaches nobody twice", core.Interceptor{Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error { return errors.Join(next(ctx, d), next(ctx, d)) }
		}}, good, "accepted 250", nil, false},
		{"an attempt that nobody did is no success", core.Interceptor{Attempt: func(core.AttemptFunc) core.AttemptFunc {
			return func(context.Context, *core.Attempt) error { return nil }
		}}, pipelining + bye, "refused", core.ErrNextSkipped, false},
		{"an attempt is done once", core.Interceptor{Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				return errors.Join(next(ctx, a), next(ctx, a))
			}
		}}, good, "accepted 250", nil, false},
		{"content that is refused writes nothing, and the session is kept", core.Interceptor{Content: func(core.ContentFunc) core.ContentFunc {
			return func(_ context.Context, c *core.Content) error { return mine }
		}}, pipelining + bye, "refused", mine, true},
		{"content that nobody settled is no content", core.Interceptor{Content: func(core.ContentFunc) core.ContentFunc {
			return func(context.Context, *core.Content) error { return nil }
		}}, pipelining + bye, "refused", core.ErrNextSkipped, false},
		{"content is settled once", core.Interceptor{Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error { return errors.Join(next(ctx, c), next(ctx, c)) }
		}}, pipelining + bye, "refused", core.ErrNextTwice, false},
		{"content that is nil is refused", core.Interceptor{Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error { c.Body = nil; return next(ctx, c) }
		}}, pipelining + bye, "refused", nil, false},
		{"content that is shorter than it says never ends", core.Interceptor{Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error {
				c.Body = declared{c.Body, 100_000}
				return next(ctx, c)
			}
		}}, pipelining + envelope + goOn + "IGNORE", "refused", nil, false},
		{"a session that is refused is not opened", core.Interceptor{Connect: func(core.ConnectFunc) core.ConnectFunc {
			return func(context.Context, *core.Connect) error { return mine }
		}}, "", "refused", mine, false},
		{"a session that nobody opened is none", core.Interceptor{Connect: func(core.ConnectFunc) core.ConnectFunc {
			return func(context.Context, *core.Connect) error { return nil }
		}}, "", "refused", core.ErrNextSkipped, false},
		{"a session that is disliked is closed", core.Interceptor{Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error { return errors.Join(next(ctx, c), mine) }
		}}, pipelining, "refused", mine, false},
		{"an envelope that is refused writes nothing, and the session is kept", onMail(func(context.Context, core.ExchangeFunc, *core.Exchange) error { return mine }), pipelining + bye, "refused", mine, true},
		{"an envelope that nobody wrote is no success", onMail(func(context.Context, core.ExchangeFunc, *core.Exchange) error { return nil }), pipelining + bye, "refused", core.ErrNextSkipped, false},
		{"an envelope whose replies are disliked ends without content", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			return errors.Join(next(ctx, x), mine)
		}), pipelining + envelope + goOn, "refused", mine, false},
		{"replies that are swallowed count all the same", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			err := next(ctx, x)
			x.Replies = nil
			return err
		}), good, "accepted 250", nil, false},
		{"a refusal cannot be made a success", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			err := next(ctx, x)
			for i := range x.Replies {
				x.Replies[i] = core.Reply{Code: 250}
			}
			return err
		}), pipelining + envelope + "S: 250 ok\nS: 550 no\nS: 503 no\n" + bye, "refused 550", core.ErrRecipientRefused, false},
		{"commands cannot be dropped", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			x.Commands = x.Commands[:1]
			return next(ctx, x)
		}), pipelining + bye, "refused", nil, false},
		{"commands cannot be rewritten", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			x.Commands[1].Path = "evil@example.com"
			return next(ctx, x)
		}), pipelining + bye, "refused", nil, false},
		{"parameters can be changed", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			x.Commands[0].Params = append(x.Commands[0].Params, core.Parameter("", "X-TRACE", "1"))
			return next(ctx, x)
		}), pipelining + strings.Replace(envelope, "<a@example.com>", "<a@example.com> X-TRACE=1", 1) + goOn + sent + bye, "accepted 250", nil, false},
		{"F17 parameters that break a command are not written", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			x.Commands[0].Params = append(x.Commands[0].Params, core.Parameter("", "X", "1\r\nQUIT"))
			return next(ctx, x)
		}), pipelining + bye, "refused", nil, true},
		{"F22 parameters that were not announced are not written", onMail(func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			x.Commands[1].Params = append(x.Commands[1].Params, core.Parameter("DSN", "NOTIFY", "NEVER"))
			return next(ctx, x)
		}), pipelining + bye, "refused", core.ErrNotSupported, true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			tt.i.Name = "audit"
			c := newClient(t, tt.dialogue, smtptest.Options{}, with(tt.i))
			for range map[bool]int{false: 1, true: 2}[tt.again] {
				receipt, err := c.Send(t.Context(), message("b@example.com"))
				if got := outcomes(receipt); got != tt.outcome {
					t.Errorf("outcome %q, want %q: %v", got, tt.outcome, err)
				}
				checkDeliveryError(t, receipt, err, tt.kind)
			}
		})
	}
}

// onMail is an interceptor of the exchange that begins with MAIL.
func onMail(f func(context.Context, core.ExchangeFunc, *core.Exchange) error) core.Interceptor {
	return onVerb("MAIL", f)
}

func onVerb(verb string, f func(context.Context, core.ExchangeFunc, *core.Exchange) error) core.Interceptor {
	return core.Interceptor{Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
		return func(ctx context.Context, x *core.Exchange) error {
			if len(x.Commands) > 0 && x.Commands[0].Verb == verb {
				return f(ctx, next, x)
			}
			return next(ctx, x)
		}
	}}
}

func TestInterceptors_contentExchange(t *testing.T) {
	mine := errors.New("I object")
	t.Run("content that is refused behind 354 closes the connection without a dot", func(t *testing.T) {
		i := onVerb(core.EndOfData, func(context.Context, core.ExchangeFunc, *core.Exchange) error { return mine })
		i.Name = "audit"
		c := newClient(t, pipelining+envelope+goOn, smtptest.Options{}, with(i))
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if got := outcomes(receipt); got != "refused" || !errors.Is(err, mine) {
			t.Error(got, err)
		}
	})
	t.Run("what the server has accepted stays accepted", func(t *testing.T) {
		i := onVerb(core.EndOfData, func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			return errors.Join(next(ctx, x), mine)
		})
		i.Name = "audit"
		c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(i))
		receipt, err := c.Send(t.Context(), message("b@example.com"))
		if got := outcomes(receipt); got != "accepted 250" || err != nil {
			t.Error(got, err)
		}
	})
	t.Run("it shows the size of the content and nothing of it", func(t *testing.T) {
		var seen string
		i := onVerb(core.EndOfData, func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			err := next(ctx, x)
			seen = fmt.Sprintf("%s -> %v", &x.Commands[0], x.Replies)
			return err
		})
		i.Name = "audit"
		c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(i))
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Fatal(err)
		}
		if want := "[content, 4 octets] . -> [250 ok]"; seen != want {
			t.Errorf("saw %q, want %q", seen, want)
		}
	})
}

func TestInterceptors_aPanicNamesItsInterceptor(t *testing.T) {
	for _, tt := range []struct {
		where    string
		i        core.Interceptor
		dialogue string
	}{
		{"delivery", core.Interceptor{Delivery: func(core.DeliverFunc) core.DeliverFunc {
			return func(context.Context, *core.Delivery) error { panic("no") }
		}}, ""},
		{"attempt", core.Interceptor{Attempt: func(core.AttemptFunc) core.AttemptFunc {
			return func(context.Context, *core.Attempt) error { panic("no") }
		}}, pipelining + bye},
		{"content", core.Interceptor{Content: func(core.ContentFunc) core.ContentFunc {
			return func(context.Context, *core.Content) error { panic("no") }
		}}, pipelining + bye},
		{"connect", core.Interceptor{Connect: func(core.ConnectFunc) core.ConnectFunc {
			return func(context.Context, *core.Connect) error { panic("no") }
		}}, ""},
		{"exchange", onMail(func(context.Context, core.ExchangeFunc, *core.Exchange) error { panic("no") }), pipelining + bye},
	} {
		t.Run(tt.where, func(t *testing.T) {
			tt.i.Name = "audit"
			outer, inner := core.Interceptor{Name: "outer", Delivery: tracer("outer", new([]string)).Delivery}, core.Interceptor{Name: "inner", Delivery: tracer("inner", new([]string)).Delivery}
			c := newClient(t, tt.dialogue, smtptest.Options{}, with(outer, tt.i, inner))
			receipt, err := c.Send(t.Context(), message("b@example.com"))
			p, ok := errors.AsType[*core.PanicError](err)
			if want := fmt.Sprintf("interceptor %q (%s)", "audit", tt.where); !ok || p.Where != want || p.Value != "no" || len(p.Stack) == 0 {
				t.Errorf("error %v, want a panic in %s", err, want)
			}
			if got := outcomes(receipt); got != "refused" {
				t.Errorf("outcome %s", got)
			}
		})
	}
}

func TestInterceptors_contentIsSettledOnceForADelivery(t *testing.T) {
	const offers = "S: 220 hi\nC: EHLO client.example\nS: 250-mx.example\nS: 250-8BITMIME\nS: 250 PIPELINING\n"
	const rcpt = "C| RCPT TO:<b@example.com>\nC| DATA\nS: 250 ok\n"
	for _, tt := range []struct {
		rule, dialogue string
		asks           string
		runs           int
	}{
		{"a retry does not sign again", offers + "C: MAIL FROM:<a@example.com>\n" + rcpt + "S: 450 no\nS: 503 no\nCLOSE\n---\n" +
			pipelining + envelope + goOn + "C: X: 1\nC| hi\nC| .\nS: 250 ok" + bye, "", 1},
		{"but a peer that would answer otherwise gets content of its own", offers + "C: MAIL FROM:<a@example.com>\n" + rcpt + "S: 450 no\nS: 503 no\nCLOSE\n---\n" +
			pipelining + envelope + goOn + "C: X: 2\nC| hi\nC| .\nS: 250 ok" + bye, "8bitmime", 2},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			runs := 0
			i := core.Interceptor{
				Name: "header",
				Content: func(next core.ContentFunc) core.ContentFunc {
					return func(ctx context.Context, c *core.Content) error {
						runs++
						if tt.asks != "" {
							c.Offers(tt.asks)
						}
						c.Prepend(fmt.Sprintf("X: %d\r\n", runs))
						return next(ctx, c)
					}
				},
				Delivery: func(next core.DeliverFunc) core.DeliverFunc {
					return func(ctx context.Context, d *core.Delivery) error {
						_ = next(ctx, d)
						return next(ctx, d)
					}
				},
			}
			c := newClient(t, tt.dialogue, smtptest.Options{}, with(i))
			receipt, err := c.Send(t.Context(), message("b@example.com"))
			if err != nil || receipt.Attempts < 2 || runs != tt.runs {
				t.Errorf("%d runs, want %d: %v", runs, tt.runs, err)
			}
		})
	}
}

func TestInterceptors_refuseSomeRecipients(t *testing.T) {
	suppressed := errors.New("on the suppression list")
	i := core.Interceptor{Name: "suppression", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			for k, to := range d.Message().To {
				if strings.HasPrefix(to.Address, "x") {
					d.Refuse(k, suppressed)
				}
			}
			return next(ctx, d)
		}
	}}
	c := newClient(t, pipelining+envelope+goOn+sent+bye, smtptest.Options{}, with(i))
	receipt, err := c.Send(t.Context(), message("x@example.com", "b@example.com"))
	if got := outcomes(receipt); got != "refused; accepted 250" || !errors.Is(err, suppressed) {
		t.Error(got, err)
	}
	receipt, err = c.Send(t.Context(), message("x@example.com"))
	if got := outcomes(receipt); got != "refused" || !errors.Is(err, suppressed) {
		t.Error(got, err)
	}
}

type connectionKey struct{}

func TestInterceptors_valuesLiveAsLongAsTheSession(t *testing.T) {
	var seen []any
	i := core.Interceptor{
		Name: "spy",
		Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error {
				c.Set(connectionKey{}, "first")
				err := next(ctx, c)
				var steps []string
				for _, s := range c.Steps {
					steps = append(steps, s.Name)
				}
				seen = append(seen, strings.Join(steps, " "))
				return err
			}
		},
		Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				seen = append(seen, a.Value(connectionKey{}), a.Number(), a.Recipients()[0])
				return next(ctx, a)
			}
		},
	}
	c := newClient(t, pipelining+envelope+goOn+sent+envelope+goOn+sent+bye, smtptest.Options{}, with(i))
	for range 2 {
		if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
			t.Fatal(err)
		}
	}
	if want := []any{"dial greeting hello", "first", 1, 0, "first", 1, 0}; !slices.Equal(seen, want) {
		t.Errorf("saw %v, want %v", seen, want)
	}
}

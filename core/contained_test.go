package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/core"
)

// The message of the one whose interceptor misbehaves has this in its context.
type victimKey struct{}

// misdeed is what an interceptor does to one message. The others that share its
// session are strangers' messages.
type misdeed struct {
	does string
	do   func(ctx context.Context, next func(context.Context) error) error
	is   func(error) bool // of the error, if the message was not accepted
}

func misdeeds() []misdeed {
	names := func(err error) bool {
		p, ok := errors.AsType[*core.PanicError](err)
		return ok && strings.HasPrefix(p.Where, `interceptor "bad"`)
	}
	mine := errors.New("I object")
	objects := func(err error) bool { return errors.Is(err, mine) }
	return []misdeed{
		{"panics before next", func(context.Context, func(context.Context) error) error { panic("no") }, names},
		{"panics behind next", func(ctx context.Context, next func(context.Context) error) error {
			_ = next(ctx)
			panic("no")
		}, names},
		{"returns without next", func(context.Context, func(context.Context) error) error { return nil }, func(err error) bool {
			return errors.Is(err, core.ErrNextSkipped) && strings.Contains(err.Error(), `interceptor "bad"`)
		}},
		{"fails before next", func(context.Context, func(context.Context) error) error { return mine }, objects},
		{"fails behind next", func(ctx context.Context, next func(context.Context) error) error {
			return errors.Join(next(ctx), mine)
		}, objects},
		{"hides an error", func(ctx context.Context, next func(context.Context) error) error { _ = next(ctx); return nil }, nil},
		{"calls next twice", func(ctx context.Context, next func(context.Context) error) error {
			return errors.Join(next(ctx), next(ctx))
		}, func(err error) bool {
			return errors.Is(err, core.ErrNextTwice) && strings.Contains(err.Error(), `interceptor "bad"`)
		}},
		{"returns while next runs", func(ctx context.Context, next func(context.Context) error) error {
			begun := make(chan struct{})
			go func() { close(begun); _ = next(ctx) }()
			<-begun
			return mine
		}, nil},
		{"calls next when it has returned", func(ctx context.Context, next func(context.Context) error) error {
			go func() {
				<-ctx.Value(victimKey{}).(chan struct{}) // Send has returned
				_ = next(ctx)
			}()
			return mine
		}, objects},
	}
}

// badTo has an interceptor do something to the victim's message alone, in the
// chain of a kind: a verb is the exchange that ends with it.
func badTo(kind string, do func(context.Context, func(context.Context) error) error) core.Interceptor {
	victims := func(ctx context.Context, next func(context.Context) error) error {
		if ctx.Value(victimKey{}) == nil {
			return next(ctx)
		}
		return do(ctx, next)
	}
	i := core.Interceptor{Name: "bad"}
	switch kind {
	case "delivery":
		i.Delivery = func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				return victims(ctx, func(ctx context.Context) error { return next(ctx, d) })
			}
		}
	case "attempt":
		i.Attempt = func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				return victims(ctx, func(ctx context.Context) error { return next(ctx, a) })
			}
		}
	case "content":
		i.Content = func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, c *core.Content) error {
				return victims(ctx, func(ctx context.Context) error { return next(ctx, c) })
			}
		}
	default:
		i.Exchange = func(next core.ExchangeFunc) core.ExchangeFunc {
			return func(ctx context.Context, x *core.Exchange) error {
				if len(x.Commands) == 0 || x.Commands[len(x.Commands)-1].Verb != kind {
					return next(ctx, x)
				}
				return victims(ctx, func(ctx context.Context) error { return next(ctx, x) })
			}
		}
	}
	return i
}

// amongStrangers sends the victim's message among those of others, over one
// session, and returns what became of it. Nobody else's outcome may suffer.
func amongStrangers(t *testing.T, s *mailStore, victim *core.Message, interceptors ...core.Interceptor) core.RecipientResult {
	t.Helper()
	const strangers = 60
	c := newMailStore(t, s, shared(16, 1), with(interceptors...))
	over := make(chan struct{})
	var senders sync.WaitGroup
	var result core.RecipientResult
	for n := range strangers {
		senders.Go(func() {
			if receipt, err := c.Send(t.Context(), numbered(n)); err != nil {
				t.Errorf("a stranger's message is %s: %v", outcomes(receipt), err)
			}
		})
		if n == strangers/2 {
			senders.Go(func() {
				defer close(over)
				receipt, _ := c.Send(context.WithValue(t.Context(), victimKey{}, over), victim)
				result = receipt.Recipients[0]
			})
		}
	}
	senders.Wait()
	_ = c.Close()
	for n := range strangers {
		if got := s.received(numbered(n).To[0].Address); got != 1 {
			t.Errorf("a stranger has received the message %d times", got)
		}
	}
	received := s.received(result.Address)
	if received > 1 || result.Outcome == core.Accepted && received != 1 || (result.Outcome == core.Refused || result.Outcome == core.Deferred) && received != 0 {
		t.Errorf("the message is %s, and was received %d times: %v", result.Outcome, received, result.Err)
	}
	return result
}

// J8, on a session that others share: with CHUNKING whole transactions are in
// flight behind each other, without it one's content and the next one's envelope.
func TestInterceptors_strangersDoNotSuffer_J8(t *testing.T) {
	for _, tt := range []struct {
		extensions []string
		kinds      []string
	}{
		{[]string{"PIPELINING", "CHUNKING"}, []string{"delivery", "attempt", "content", "BDAT"}},
		{[]string{"PIPELINING"}, []string{"delivery", "attempt", "content", "DATA", core.EndOfData}},
	} {
		for _, kind := range tt.kinds {
			for _, m := range misdeeds() {
				t.Run(fmt.Sprintf("%s: %s in %q", strings.Join(tt.extensions, " "), m.does, kind), func(t *testing.T) {
					victim := message("victim@example.com")
					result := amongStrangers(t, &mailStore{extensions: tt.extensions}, victim, badTo(kind, m.do))
					if result.Outcome != core.Accepted && m.is != nil && !m.is(result.Err) {
						t.Errorf("the error does not say what has happened: %v", result.Err)
					}
					if result.Outcome == core.Unknown && m.is != nil {
						t.Errorf("the message is in doubt: %v", result.Err)
					}
				})
			}
		}
	}
}

// Nothing is half sent: of a body that yields other than it declares nobody
// receives anything, and who shares the session does not notice.
func TestInterceptors_strangersDoNotSufferFromABodyThatLies_J8(t *testing.T) {
	for name, extensions := range map[string][]string{"BDAT": {"PIPELINING", "CHUNKING"}, "DATA": {"PIPELINING"}} {
		for _, size := range []int{100, 200_000} { // in one write, and alone on the session
			for _, more := range []int64{-1, 1} {
				for _, form := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s: %d octets, %+d, form %t", name, size, more, form), func(t *testing.T) {
						octets := strings.Repeat("x", size-2) + "\r\n"
						i := core.Interceptor{Name: "bad", Content: func(next core.ContentFunc) core.ContentFunc {
							return func(ctx context.Context, c *core.Content) error {
								if ctx.Value(victimKey{}) != nil {
									c.Body = liar{octets, int64(size) + more, form}
								}
								return next(ctx, c)
							}
						}}
						result := amongStrangers(t, &mailStore{extensions: extensions}, message("victim@example.com"), i)
						if result.Outcome != core.Refused || core.ClassOf(result.Err) != core.Local {
							t.Errorf("the message is %s: %v", result.Outcome, result.Err)
						}
					})
				}
			}
		}
	}
}

// liar is a body that declares another size than it has, and another form.
type liar struct {
	octets string
	size   int64
	form   bool
}

func (l liar) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(l.octets)), nil
}

func (l liar) Size() int64 { return l.size }

func (l liar) Form() (core.Form, bool) {
	return core.Form{Canonical: true, Size: l.size, LongestLine: len(l.octets) - 2}, l.form
}

// A reply that one interceptor hides is hidden from those outside of it, and from
// nobody else.
func TestInterceptors_strangersDoNotSufferFromHiddenReplies_J8(t *testing.T) {
	for name, extensions := range map[string][]string{"BDAT": {"PIPELINING", "CHUNKING"}, "DATA": {"PIPELINING"}} {
		t.Run(name, func(t *testing.T) {
			i := core.Interceptor{Name: "bad", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
				return func(ctx context.Context, x *core.Exchange) error {
					err := next(ctx, x)
					if ctx.Value(victimKey{}) != nil {
						x.Replies = nil
					}
					return err
				}
			}}
			result := amongStrangers(t, &mailStore{extensions: extensions}, message("victim@example.com"), i)
			if result.Outcome != core.Accepted {
				t.Errorf("the message is %s: %v", result.Outcome, result.Err)
			}
		})
	}
}

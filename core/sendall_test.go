package core_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
)

// chunked is what a server announces to which whole transactions can follow
// each other.
var chunked = []string{"PIPELINING", "CHUNKING"}

// sequence yields n numbered messages, and counts how many were pulled.
func sequence(n int, pulled *atomic.Int32) iter.Seq[*core.Message] {
	return func(yield func(*core.Message) bool) {
		for i := range n {
			pulled.Add(1)
			if !yield(numbered(i)) {
				return
			}
		}
	}
}

func TestSendAll_oneResultForEachMessage(t *testing.T) {
	for _, depth := range []int{1, 16} {
		t.Run(fmt.Sprint("depth ", depth), func(t *testing.T) {
			s := &mailStore{extensions: chunked}
			c := newMailStore(t, s, shared(depth, 2))
			invalid := message("no address")
			messages := []*core.Message{numbered(0), nil, invalid, {}, numbered(1), nil, numbered(2)}
			results := make([]core.Result, len(messages))
			seen := 0
			err := c.SendAll(t.Context(), slices.Values(messages), func(r core.Result) {
				if results[r.Index].Err != nil || results[r.Index].Receipt != nil {
					t.Errorf("message %d has another result", r.Index)
				}
				results[r.Index] = r
				seen++
			})
			if seen != len(messages) {
				t.Errorf("%d results for %d messages", seen, len(messages))
			}
			for i, r := range results {
				good := i == 0 || i == 4 || i == 6
				if r.Message != messages[i] || (r.Receipt == nil) != (messages[i] == nil) || (r.Err == nil) != good {
					t.Errorf("message %d: %+v", i, r)
				}
				if good && s.received(messages[i].To[0].Address) != 1 {
					t.Errorf("message %d was received %d times", i, s.received(messages[i].To[0].Address))
				}
			}
			if err == nil || !strings.HasPrefix(err.Error(), "4 of 7 messages were not accepted for all recipients; the first: message ") {
				t.Error(err)
			}
		})
	}
}

func TestSendAll_theErrorReachesThatOfTheFirstMessage(t *testing.T) {
	c := newMailStore(t, &mailStore{}, shared(1, 1))
	err := c.SendAll(t.Context(), slices.Values([]*core.Message{numbered(0), message("no address"), numbered(1)}), nil)
	hasError(t, err, core.StageRcpt, core.Local, nil)
	if d, ok := errors.AsType[*core.DeliveryError](err); !ok || d.Receipt.Recipients[0].Address != "no address" {
		t.Errorf("%v does not reach the receipt", err)
	}
	if !strings.HasPrefix(err.Error(), "1 of 3 messages were not accepted for all recipients; the first: message 1: ") {
		t.Error(err)
	}
}

func TestSendAll_withoutMessagesOrWithoutAFunctionForResults(t *testing.T) {
	s := &mailStore{extensions: chunked}
	c := newMailStore(t, s, shared(16, 2))
	var pulled atomic.Int32
	if err := c.SendAll(t.Context(), sequence(0, &pulled), func(core.Result) { t.Error("a result of nothing") }); err != nil || s.dialled != 0 {
		t.Errorf("%d connections for nothing: %v", s.dialled, err)
	}
	if err := c.SendAll(t.Context(), sequence(100, &pulled), nil); err != nil || s.recipients() != 100 {
		t.Errorf("%d messages were received: %v", s.recipients(), err)
	}
}

func TestSendAll_afterTheEndOfTheContextNoMessageIsPulled(t *testing.T) {
	why := errors.New("the user left")
	for _, after := range []int{0, 1, 50} {
		for _, depth := range []int{1, 16} {
			t.Run(fmt.Sprintf("after %d results, depth %d", after, depth), func(t *testing.T) {
				s := &mailStore{extensions: chunked}
				c := newMailStore(t, s, shared(depth, 2))
				ctx, cancel := context.WithCancelCause(t.Context())
				if after == 0 {
					cancel(why)
				}
				var pulled, late, results atomic.Int32
				messages := func(yield func(*core.Message) bool) {
					for i := 0; ; i++ {
						if ctx.Err() != nil {
							late.Add(1)
						}
						pulled.Add(1)
						if !yield(numbered(i)) {
							return
						}
					}
				}
				accepted := 0
				err := c.SendAll(ctx, messages, func(r core.Result) {
					if r.Err == nil {
						accepted++
					}
					if int(results.Add(1)) == after {
						cancel(why)
					}
				})
				if after == 0 && pulled.Load() != 0 {
					t.Error("a message was pulled")
				}
				if late.Load() > 1 { // it was asked for when the context ended
					t.Errorf("%d messages were pulled after the end of the context", late.Load())
				}
				if results.Load() != pulled.Load() || accepted > s.recipients() {
					t.Errorf("%d results for %d messages, %d accepted and %d received", results.Load(), pulled.Load(), accepted, s.recipients())
				}
				if !errors.Is(err, context.Canceled) || !errors.Is(err, why) || !strings.HasPrefix(err.Error(), "the sequence was not sent to its end: ") {
					t.Error(err)
				}
			})
		}
	}
}

func TestSendAll_aContextThatEndsWithTheLastResultIsNoError(t *testing.T) {
	c := newMailStore(t, &mailStore{}, shared(1, 1))
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := c.SendAll(ctx, slices.Values([]*core.Message{numbered(0), numbered(1)}), func(core.Result) {
		if n++; n == 2 {
			cancel()
		}
	})
	if err != nil {
		t.Errorf("the sequence was sent to its end and each message accepted: %v", err)
	}
}

func TestSendAll_resultsComeOneAtATime(t *testing.T) {
	c := newMailStore(t, &mailStore{extensions: chunked}, shared(16, 4))
	var pulled, running atomic.Int32
	n := 0 // the race detector sees that there is no other lock
	if err := c.SendAll(t.Context(), sequence(300, &pulled), func(core.Result) {
		if running.Add(1) != 1 {
			t.Error("two calls at a time")
		}
		runtime.Gosched()
		n++
		running.Add(-1)
	}); err != nil || n != 300 {
		t.Errorf("%d results: %v", n, err)
	}
}

// metered is an interceptor that counts the deliveries under way.
func metered(now, most *atomic.Int32, wait func()) core.Interceptor {
	return core.Interceptor{Name: "counted", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			n := now.Add(1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			defer now.Add(-1)
			wait()
			return next(ctx, d)
		}
	}}
}

func TestSendAll_noMoreAtATimeThanTheSessionsTake(t *testing.T) {
	for _, tt := range []struct{ depth, sessions, want int }{{0, 0, core.DefaultMaxSessions}, {1, 3, 3}, {16, 1, 16}, {16, 3, 48}} {
		t.Run(fmt.Sprintf("%d sessions, depth %d", tt.sessions, tt.depth), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now, most, pulled atomic.Int32
				c := newMailStore(t, &mailStore{extensions: chunked}, shared(tt.depth, tt.sessions), with(metered(&now, &most, func() { <-time.After(time.Second) })))
				if err := c.SendAll(t.Context(), sequence(100, &pulled), nil); err != nil || int(most.Load()) != tt.want {
					t.Errorf("%d at a time, want %d: %v", most.Load(), tt.want, err)
				}
			})
		})
	}
}

func TestSendAll_aSlowSequenceDelaysNoResult(t *testing.T) {
	c := newMailStore(t, &mailStore{}, shared(1, 1))
	got := make(chan int)
	err := c.SendAll(t.Context(), func(yield func(*core.Message) bool) {
		for i := range 3 {
			if !yield(numbered(i)) {
				return
			}
			if n := <-got; n != i { // it comes while the sequence waits
				t.Errorf("result %d, want %d", n, i)
			}
		}
	}, func(r core.Result) { got <- r.Index })
	if err != nil {
		t.Error(err)
	}
}

// caught runs f and returns what it panicked with, and whether it returned.
func caught(f func()) (value any, returned bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { value = recover() }()
		f()
		returned = true
	}()
	<-done
	return value, returned
}

func TestSendAll_thePanicOfAFunctionIsTheCallers(t *testing.T) {
	mine := errors.New("mine")
	for _, depth := range []int{1, 16} {
		t.Run(fmt.Sprintf("that takes results, depth %d", depth), func(t *testing.T) {
			var now, most, pulled atomic.Int32
			c := newMailStore(t, &mailStore{extensions: chunked}, shared(depth, 2), with(metered(&now, &most, func() {})))
			calls := 0
			value, _ := caught(func() {
				_ = c.SendAll(t.Context(), sequence(1000, &pulled), func(core.Result) {
					if calls++; calls == 3 {
						panic(mine)
					}
				})
			})
			p, ok := value.(*core.PanicError)
			if !ok || p.Value != mine || !errors.Is(p, mine) || len(p.Stack) == 0 || p.Where != "the function that takes results" {
				t.Errorf("panicked with %v", value)
			}
			if calls != 3 || now.Load() != 0 {
				t.Errorf("%d calls; %d messages are under way", calls, now.Load())
			}
			if most := int32(3 + 2*depth + 1); pulled.Load() > most {
				t.Errorf("%d messages were pulled", pulled.Load())
			}
		})
		t.Run(fmt.Sprintf("that yields messages, depth %d", depth), func(t *testing.T) {
			var now, most, pulled atomic.Int32
			c := newMailStore(t, &mailStore{extensions: chunked}, shared(depth, 2), with(metered(&now, &most, func() {})))
			var results atomic.Int32
			value, _ := caught(func() {
				_ = c.SendAll(t.Context(), func(yield func(*core.Message) bool) {
					sequence(50, &pulled)(yield)
					panic(mine)
				}, func(core.Result) { results.Add(1) })
			})
			if value != mine || results.Load() != 50 || now.Load() != 0 {
				t.Errorf("panicked with %v after %d results of 50; %d are under way", value, results.Load(), now.Load())
			}
		})
	}
}

// When the function that takes results has ended in a panic or in
// runtime.Goexit, nobody would know what becomes of further messages.
func TestSendAll_nothingMoreIsSentWhenNobodyTakesResults(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("no") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &mailStore{extensions: chunked}
				c := newMailStore(t, s, shared(16, 2))
				var err error
				_, returned := caught(func() {
					err = c.SendAll(t.Context(), func(yield func(*core.Message) bool) {
						for i := range 10 {
							if !yield(numbered(i)) {
								return
							}
							<-time.After(time.Second)
						}
					}, func(r core.Result) {
						if r.Index == 1 {
							end()
						}
					})
				})
				if returned && err == nil {
					t.Error("the error is nil, and the sequence was not sent to its end")
				}
				if n := s.recipients(); n > 2 {
					t.Errorf("%d messages were sent, the result of the second was the last that was taken", n)
				}
			})
		})
	}
}

func TestSendAll_mayRunSeveralTimesAtOnce(t *testing.T) {
	s := &mailStore{extensions: chunked}
	c := newMailStore(t, s, shared(16, 2))
	done := make(chan error)
	for part := range 4 {
		go func() {
			done <- c.SendAll(t.Context(), func(yield func(*core.Message) bool) {
				for i := range 100 {
					if !yield(numbered(100*part + i)) {
						return
					}
				}
			}, nil)
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if s.recipients() != 400 {
		t.Errorf("%d messages were received", s.recipients())
	}
}

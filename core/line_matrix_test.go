package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
)

// unhurried is a server's connection on which each write takes a second. It hands
// over one transaction at a time, so that each has a write of its own.
type unhurried struct {
	net.Conn
	rest []byte
}

func (c *unhurried) Write(p []byte) (int, error) {
	<-time.After(time.Second)
	return c.Conn.Write(p)
}

func (c *unhurried) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		buffer := make([]byte, 8<<10) // more than the client writes at once
		n, err := c.Conn.Read(buffer)
		if err != nil {
			return 0, err
		}
		c.rest = buffer[:n]
	}
	next := c.rest
	if i := bytes.Index(next, []byte("hi\r\n")); i >= 0 {
		next = next[:i+len("hi\r\n")]
	}
	n := copy(p, next)
	c.rest = c.rest[n:]
	return n, nil
}

const (
	queued    = 16              // messages that share the session
	helloSaid = 2 * time.Second // greeting and EHLO: the first envelope is written
	halfway   = time.Second / 2
)

// theVictim is the key of a context: what is done with it is the victim's.
type theVictim struct{}

// misstep is how a message in a queue comes to its end.
type misstep struct {
	name   string
	how    string                                // over BDAT or DATA, or either if it is empty
	cancel func(how string, p int) time.Duration // when its context ends, after the first message was written
	trap   core.Interceptor                      // what panics
	body   core.Body
	strict bool // LineEnds is RefuseLineEnds

	outcome string
	stored  int
	ends    string // over which it ends the session, so that those behind move to another
}

// panics is an interceptor with the victim's panic in it, when the others are in
// the queue.
func panics(victim bool) {
	if victim {
		<-time.After(halfway / 2)
		panic("no")
	}
}

// onExchange panics in the exchanges of the victim that begin with verb.
func onExchange(verb string, afterwards bool) core.Interceptor {
	return core.Interceptor{Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
		return func(ctx context.Context, x *core.Exchange) error {
			its := ctx.Value(theVictim{}) != nil && slices.ContainsFunc(x.Commands, func(c core.Command) bool { return c.Verb == verb })
			panics(its && !afterwards)
			err := next(ctx, x)
			panics(its)
			return err
		}
	}}
}

// broken is a body that is not what it says.
type broken struct {
	size   int64
	octets string
	err    error // behind them
}

func (b broken) Size() int64 { return b.size }

func (b broken) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader(b.octets), iotest.ErrReader(b.err))), nil
}

var errDisk = errors.New("the disk is gone")

// missteps makes them anew for each test, since some have readers.
func missteps() []misstep {
	beforeItsTurn := func(how string, p int) time.Duration {
		if how == "DATA" || p == 0 {
			return time.Duration(p)*time.Second - halfway
		}
		return halfway // the first content that goes by BDAT is waited for
	}
	return []misstep{
		{name: "cancelled before anything was written", cancel: beforeItsTurn, outcome: "deferred"},
		{name: "cancelled when it was written whole", how: "BDAT", cancel: func(_ string, p int) time.Duration { return time.Duration(p)*time.Second + halfway }, outcome: "unknown", stored: 1},
		{name: "cancelled when it was written whole", how: "DATA", cancel: func(_ string, p int) time.Duration { return time.Duration(p+1)*time.Second + halfway }, outcome: "unknown", stored: 1},
		{name: "cancelled between envelope and content", how: "DATA", cancel: func(_ string, p int) time.Duration { return time.Duration(p)*time.Second + halfway }, outcome: "deferred", ends: "DATA"},

		{name: "panic in an attempt", outcome: "refused", trap: core.Interceptor{Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				panics(ctx.Value(theVictim{}) != nil)
				return next(ctx, a)
			}
		}}},
		{name: "panic in an attempt afterwards", outcome: "accepted 250", stored: 1, trap: core.Interceptor{Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				err := next(ctx, a)
				panics(ctx.Value(theVictim{}) != nil)
				return err
			}
		}}},
		{name: "panic in the content chain", outcome: "refused", trap: core.Interceptor{Content: func(next core.ContentFunc) core.ContentFunc {
			return func(ctx context.Context, x *core.Content) error {
				panics(ctx.Value(theVictim{}) != nil)
				return next(ctx, x)
			}
		}}},
		{name: "panic in the envelope's exchange before it is written", trap: onExchange("MAIL", false), outcome: "refused"},
		{name: "panic when the replies are in", how: "BDAT", trap: onExchange("MAIL", true), outcome: "accepted 250", stored: 1},
		{name: "panic when the replies to the envelope are in", how: "DATA", trap: onExchange("MAIL", true), outcome: "refused", ends: "DATA"},
		{name: "panic in the content's exchange before it is written", how: "DATA", trap: onExchange(core.EndOfData, false), outcome: "refused", ends: "DATA"},
		{name: "panic when the reply to the content is in", how: "DATA", trap: onExchange(core.EndOfData, true), outcome: "accepted 250", stored: 1},

		{name: "body that cannot be read", body: broken{4, "", errDisk}, outcome: "refused"},
		{name: "body that breaks off", body: broken{6, "x\r\n", errDisk}, outcome: "refused"},
		{name: "large body that breaks off", body: broken{150_000, strings.Repeat("x\r\n", 30_000), errDisk}, outcome: "refused", ends: "BDAT DATA"},
		{name: "body of unknown size that breaks off", body: core.Reader(io.MultiReader(strings.NewReader("x\r\n"), iotest.ErrReader(errDisk))), outcome: "refused", ends: "BDAT DATA"},
		{name: "body that is shorter than it said", body: broken{4, "x\r\n", io.EOF}, outcome: "refused"},
		{name: "body that is longer than it said", body: broken{4, "more\r\n", io.EOF}, outcome: "refused"},
		{name: "bare LF that is refused", body: core.String("x\n"), strict: true, outcome: "refused", ends: "DATA"},
		{name: "bare LF that nobody knew of", body: noForm{core.String("x\n")}, strict: true, outcome: "refused", ends: "DATA"},
	}
}

// Whatever becomes of one message, those that share the session with it get the
// outcomes of their own positions.
func TestLineMatrix_oneMessagesEndIsNobodyElses(t *testing.T) {
	for how, extensions := range map[string][]string{"BDAT": {"8BITMIME", "PIPELINING", "CHUNKING"}, "DATA": {"8BITMIME", "PIPELINING"}} {
		for n, m := range missteps() {
			if m.how != "" && m.how != how {
				continue
			}
			for p := range queued {
				t.Run(fmt.Sprintf("%s, %s, position %d", how, m.name, p), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						checkMisstep(t, missteps()[n], how, extensions, p)
					})
				})
			}
		}
	}
}

// checkMisstep queues the messages in order and has the one at p end as m says.
func checkMisstep(t *testing.T, m misstep, how string, extensions []string, p int) {
	store := &mailStore{extensions: extensions, stored: map[string]int{}}
	var connections atomic.Int32
	c := newServed(t, func(_ int, conn net.Conn) {
		connections.Add(1)
		store.serve(&unhurried{Conn: conn})
	}, shared(queued, 1), func(c *core.Config) {
		if m.strict {
			c.LineEnds = core.RefuseLineEnds
		}
		if m.trap.Attempt != nil || m.trap.Content != nil || m.trap.Exchange != nil {
			m.trap.Name = "trap"
			c.Interceptors = []core.Interceptor{marked(p), m.trap}
		}
	})
	start := time.Now()
	until := func(d time.Duration) {
		<-time.After(time.Until(start.Add(helloSaid + d)))
		synctest.Wait()
	}
	at := time.Hour
	if m.cancel != nil {
		at = m.cancel(how, p)
	}
	var all []*sending
	victim := func() {
		all[p].cancel()
		synctest.Wait()
		if !all[p].ended() {
			t.Error("Send does not return when it is cancelled")
		}
	}
	for i := range queued {
		letter := numbered(i)
		if i == p && m.body != nil {
			letter.Body = m.body
		}
		all = append(all, begin(t, c, letter))
		if i > 0 {
			continue
		}
		if at < 0 {
			until(at)
			victim()
		}
		until(0)
	}
	if at >= 0 && m.cancel != nil {
		until(at)
		victim()
	}
	for i, s := range all {
		want := "accepted 250"
		if i == p {
			want = m.outcome
		}
		<-s.done
		attempts := 1
		if i == p && at < 0 {
			attempts = 0 // there was no session yet
		}
		if got := outcomes(s.receipt); got != want || s.receipt.Attempts != attempts {
			t.Errorf("message %d is %s after %d attempts, want %s after %d: %v", i, got, s.receipt.Attempts, want, attempts, s.err)
		}
		if i != p && s.err != nil {
			t.Errorf("message %d: %v", i, s.err)
		}
		checkPanic(t, s, i == p && m.trap.Name != "" && m.stored == 0)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for i := range queued {
		want := 1
		if i == p {
			want = m.stored
		}
		if got := store.received(fmt.Sprintf("r%d@example.com", i)); got != want {
			t.Errorf("message %d was received %d times, want %d", i, got, want)
		}
	}
	want := int32(1)
	if strings.Contains(m.ends, how) && p < queued-1 {
		want = 2 // for those behind
	}
	if got := connections.Load(); got != want {
		t.Errorf("it took %d connections, want %d", got, want)
	}
	if s := c.Stats(); s.Open != 0 || s.Waiting != 0 {
		t.Errorf("Close leaves something: %+v", s)
	}
}

// marked marks what is done for the message at p.
func marked(p int) core.Interceptor {
	address := numbered(p).To[0].Address
	return core.Interceptor{Name: "mark", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			if d.Message().To[0].Address == address {
				ctx = context.WithValue(ctx, theVictim{}, true)
			}
			return next(ctx, d)
		}
	}}
}

// checkPanic checks that a panic is in its own message's error and in nobody
// else's.
func checkPanic(t *testing.T, s *sending, want bool) {
	t.Helper()
	if _, got := errors.AsType[*core.PanicError](s.err); got != want {
		t.Errorf("error %v, want a panic: %v", s.err, want)
	}
}

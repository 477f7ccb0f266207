package core_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

func TestLine_aCancelAfterTheContentLeavesTheSessionInUse(t *testing.T) {
	for name, dialogue := range map[string]string{
		"DATA": pipelining + oneWrite(data(0)) + goOn + oneWrite(theEnd) + stillness + "S: 250 ok\n" + oneWrite(resetFirst, data(1)) + okRSET + goOn + oneWrite(theEnd) + "S: 250 ok" + bye,
		"BDAT": chunking + oneWrite(bdat(0)) + stillness + okBDAT + oneWrite(resetFirst, bdat(1)) + okRSET + okBDAT + bye,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, dialogue, smtptest.Options{}, shared(16, 1))
				a := begin(t, c, numbered(0))
				b := begin(t, c, numbered(1))
				a.cancel()
				synctest.Wait()
				if !a.ended() {
					t.Error("Send waits for the reply")
				}
				a.is(t, 0, "unknown")
				b.is(t, 1, "accepted 250")
				synctest.Wait() // until nobody is on the session, which gets no QUIT else
			})
		})
	}
}

// tattling is a connection whose Close says that it is called, and then waits.
type tattling struct {
	net.Conn
	closing chan struct{}
	goOn    chan struct{}
}

func (c tattling) Close() error {
	select {
	case <-c.closing:
	default:
		close(c.closing)
		<-c.goOn
	}
	return c.Conn.Close()
}

type wrapped struct {
	core.Transport
	wrap func(net.Conn) net.Conn
}

func (w wrapped) Dial(ctx context.Context, e core.Endpoint) (net.Conn, error) {
	conn, err := w.Transport.Dial(ctx, e)
	if err != nil {
		return nil, err
	}
	return w.wrap(conn), nil
}

func TestLine_oneLeavesWhileTheReaderFindsTheSessionDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closing, goOn := make(chan struct{}), make(chan struct{})
		audit := onVerb("MAIL", func(ctx context.Context, next core.ExchangeFunc, x *core.Exchange) error {
			err := next(ctx, x)
			<-closing // the reader has found the end of the connection
			return err
		})
		audit.Name = "audit"
		c := newClient(t, chunking+oneWrite(bdat(0))+okBDAT+oneWrite(bdat(1))+"CLOSE", smtptest.Options{}, shared(16, 1), with(audit), func(c *core.Config) {
			c.Transports = []core.Transport{wrapped{c.Transports[0], func(conn net.Conn) net.Conn { return tattling{conn, closing, goOn} }}}
		})
		a := begin(t, c, numbered(0))
		b := begin(t, c, numbered(1))
		a.is(t, 0, "accepted 250")
		synctest.Wait()
		close(goOn)
		b.is(t, 1, "unknown")
	})
}

// opened is a body that says when it is opened.
type opened struct {
	core.Body
	open func()
}

func (b opened) Open(ctx context.Context) (io.ReadCloser, error) {
	b.open()
	return b.Body.Open(ctx)
}

func TestLine_oneThatIsMovedDoesNotComeBackToTheSameSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, pipelining+oneWrite(data(0))+stillness+goOn+"HANG\n---\n"+pipelining+oneWrite(data(1))+goOn+oneWrite(theEnd)+"S: 250 ok"+bye, smtptest.Options{}, shared(16, 1))
		a := begin(t, c, numbered(0))
		tries := 0
		m := numbered(1)
		var b *sending
		m.Body = opened{noForm{m.Body}, func() {
			if tries++; tries == 1000 {
				b.cancel()
			}
		}}
		b = begin(t, c, m)
		a.cancel()
		a.is(t, 0, "deferred")
		b.is(t, 1, "accepted 250")
		if tries > 3 {
			t.Errorf("it was tried %d times", tries)
		}
	})
}

func TestPool_closeWaitsForNobodyWhoHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, chunking+oneWrite(bdat(0))+stillness+okBDAT+oneWrite(resetFirst, bdat(1), resetFirst, bdat(2))+stillness+okRSET+okBDAT+"HANG", smtptest.Options{}, shared(16, 1))
		var s []*sending
		for i := range 3 {
			s = append(s, begin(t, c, numbered(i)))
		}
		<-s[0].done
		synctest.Wait()
		s[2].cancel()
		s[2].is(t, 2, "unknown")
		closed := make(chan time.Time)
		go func() { _ = c.Close(); closed <- time.Now() }()
		synctest.Wait()
		s[1].is(t, 1, "accepted 250")
		start := time.Now()
		if took := (<-closed).Sub(start); took > 0 {
			t.Errorf("Close took %v longer than the last Send", took)
		}
	})
}

func TestLine_BDATIsNotTriedAgainThoughNobodyWaitedForItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, chunking+oneWrite(bdat(0))+stillness+twoOK+"S: 500 what\nHANG\n---\n"+chunking+oneWrite(data(1))+goOn+oneWrite(theEnd)+"S: 250 ok"+bye, smtptest.Options{}, shared(16, 1))
		a := begin(t, c, numbered(0))
		b := begin(t, c, numbered(1))
		a.cancel()
		a.is(t, 0, "unknown")
		b.is(t, 1, "accepted 250")
	})
}

func TestLine_aRestedSessionIsSharedWithoutARace(t *testing.T) {
	for name, extensions := range stores {
		synctest.Test(t, func(t *testing.T) {
			c := newMailStore(t, &mailStore{extensions: extensions}, shared(16, 1))
			begin(t, c, numbered(0)).is(t, name, "accepted 250")
			<-time.After(2 * time.Second)
			var senders sync.WaitGroup
			for i := range 16 {
				senders.Go(func() {
					if _, err := c.Send(t.Context(), numbered(i)); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			senders.Wait()
		})
	}
}

func TestLine_largeAndSmallShareWithoutARace(t *testing.T) {
	c := newServed(t, func(_ int, conn net.Conn) { (&bdatServer{}).serve(conn) }, shared(16, 1))
	done := make(chan error)
	for i := range 32 {
		go func() {
			m := numbered(i)
			if i%2 == 0 {
				m.Body = core.Bytes(make([]byte, 100<<10))
			}
			_, err := c.Send(t.Context(), m)
			done <- err
		}()
	}
	for range 32 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// blocking is a small body whose Read blocks until Close.
type blocking struct {
	closed chan struct{}
	once   *sync.Once
}

func (b blocking) Size() int64                                 { return 4 }
func (b blocking) Open(context.Context) (io.ReadCloser, error) { return b, nil }
func (b blocking) Read([]byte) (int, error)                    { <-b.closed; return 0, errors.New("closed") }
func (b blocking) Close() error                                { b.once.Do(func() { close(b.closed) }); return nil }

func TestSend_cancelWhileASmallBodyBlocksAtAnyDepth(t *testing.T) {
	for _, depth := range []int{1, 16} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, pipelining+bye, smtptest.Options{}, shared(depth, 1))
			m := numbered(0)
			body := blocking{make(chan struct{}), &sync.Once{}}
			m.Body = body
			s := begin(t, c, m)
			s.cancel()
			synctest.Wait()
			if !s.ended() {
				t.Errorf("depth %d: Send does not return", depth)
				_ = body.Close()
			}
			s.is(t, depth, "deferred")
		})
	}
}

func TestLine_aSwallowedErrorLeavesTheOutcomeUnknown(t *testing.T) {
	for _, depth := range []int{1, 16} {
		for _, how := range []string{"BDAT", "DATA"} {
			t.Run(fmt.Sprint(how, depth), func(t *testing.T) {
				dialogue := chunking + oneWrite(bdat(0)) + "CLOSE"
				if how == "DATA" {
					dialogue = pipelining + oneWrite(data(0)) + goOn + oneWrite(theEnd) + "CLOSE"
				}
				mute := core.Interceptor{Name: "mute", Exchange: func(next core.ExchangeFunc) core.ExchangeFunc {
					return func(ctx context.Context, x *core.Exchange) error { _ = next(ctx, x); return nil }
				}}
				c := newClient(t, dialogue, smtptest.Options{}, shared(depth, 1), with(mute))
				receipt, err := c.Send(t.Context(), numbered(0))
				if got := outcomes(receipt); got != "unknown" {
					t.Errorf("%s: %v", got, err)
				}
			})
		}
	}
}

// hasty answers the first command with all replies of a group, and does what
// then says.
func hasty(conn net.Conn, then func(in *bufio.Reader)) {
	in := bufio.NewReaderSize(conn, 16)
	_, _ = io.WriteString(conn, "220 hi\r\n")
	_, _ = in.ReadString('\n')
	_, _ = io.WriteString(conn, "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
	_, _ = in.ReadString('\n')
	_, _ = io.WriteString(conn, strings.Repeat("250 ok\r\n", 3))
	then(in)
}

func TestLine_aSessionThatCannotBeWrittenToIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		c := newServed(t, func(n int, conn net.Conn) {
			hasty(conn, func(in *bufio.Reader) {
				if n == 1 {
					<-stop
					return
				}
				_, _ = io.Copy(io.Discard, in)
			})
		}, shared(16, 2))
		defer close(stop)
		begin(t, c, numbered(0)).is(t, 0, "accepted 250")
		<-time.After(time.Second)
		start := time.Now()
		begin(t, c, numbered(1)).is(t, 1, "accepted 250")
		if took := time.Since(start); took > 0 {
			t.Errorf("the next message took %v", took)
		}
		start = time.Now()
		_ = c.Close()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

// looking is a connection whose look at what has arrived takes until it is told
// to go on, and finds it disturbed.
type looking struct {
	net.Conn
	begun, goOn chan struct{}
}

func (c looking) SyscallConn() (syscall.RawConn, error) {
	close(c.begun)
	<-c.goOn
	return nil, errors.New("the connection was reset")
}

func TestPool_aSessionThatIsLookedAtIsNobodyElsesYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, goOn := make(chan struct{}), make(chan struct{})
		first := true
		c := newServed(t, func(_ int, conn net.Conn) { (&bdatServer{}).serve(conn) }, shared(16, 1), func(c *core.Config) {
			c.Transports = []core.Transport{wrapped{c.Transports[0], func(conn net.Conn) net.Conn {
				if !first {
					return conn
				}
				first = false
				return looking{conn, begun, goOn}
			}}}
		})
		begin(t, c, numbered(0)).is(t, 0, "accepted 250")
		a := begin(t, c, numbered(1))
		<-begun
		b := begin(t, c, numbered(2))
		if b.ended() {
			t.Error("another message went out on a session that may be dead")
		}
		close(goOn)
		a.is(t, 1, "accepted 250")
		b.is(t, 2, "accepted 250")
	})
}

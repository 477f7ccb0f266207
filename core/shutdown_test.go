package core_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
)

// delivered is a whole message over DATA, as the script has it.
const delivered = "C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\nC| DATA\nS: 250 ok\nS: 250 ok\nS: 354 go on\nC: hi\nC| .\nS: 250 taken\n"

// send sends a message to b@example.com and wants it accepted.
func send(t *testing.T, c *core.Client) {
	t.Helper()
	if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
		t.Error(err)
	}
}

func TestPool_theLifeOfASession(t *testing.T) {
	again := "---\n" + pipelining
	for _, tt := range []struct {
		rule     string
		dialogue string
		change   func(*core.Config)
		rests    []time.Duration // before each message but the first
	}{
		{"MaxSessionMessages", pipelining + delivered + delivered + bye + "\n" + again + delivered + bye,
			func(c *core.Config) { c.MaxSessionMessages = 2 }, []time.Duration{0, 0}},
		{"MaxSessionAge: an old session says QUIT and is replaced", pipelining + delivered + delivered + bye + "\n" + again + delivered + bye,
			func(c *core.Config) { c.MaxSessionAge = time.Minute; c.IdleTimeout = time.Hour }, []time.Duration{30 * time.Second, 30 * time.Second}},
		{"without them a session lives on", pipelining + delivered + delivered + delivered + bye,
			func(c *core.Config) { c.IdleTimeout = 24 * time.Hour }, []time.Duration{time.Hour, 10 * time.Hour}},
		{"a credential that expires ends the session", "S: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250-PIPELINING\nS: 250 AUTH X-TOKEN\nC: AUTH X-TOKEN dA==\nS: 235 in\n" + delivered + delivered + bye + "\n---\nS: 220 hi\nC: EHLO client.example\nS: 250-mx\nS: 250-PIPELINING\nS: 250 AUTH X-TOKEN\nC: AUTH X-TOKEN dA==\nS: 235 in\n" + delivered + bye,
			func(c *core.Config) { c.Auth = []core.Mechanism{expiring(time.Minute)}; c.IdleTimeout = time.Hour }, []time.Duration{59 * time.Second, time.Second}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, tt.dialogue, smtptest.Options{}, tt.change)
				send(t, c)
				for _, rest := range tt.rests {
					<-time.After(rest)
					send(t, c)
				}
			})
		})
	}
}

// expiring is a mechanism with a token that expires so long after its use.
type expiring time.Duration

func (expiring) Name() string { return "X-TOKEN" }

func (m expiring) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return token{time.Now().Add(time.Duration(m))}, []byte("t"), nil
}

type token struct{ expires time.Time }

func (token) Next(context.Context, []byte) ([]byte, error) { return nil, errors.New("unexpected") }
func (token) Done(context.Context) error                   { return nil }
func (a token) Expires() time.Time                         { return a.expires }

func TestPool_MaxIdleSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialogue := strings.Repeat(pipelining+strings.Replace(delivered, "S: 250 taken", "PAUSE 1s\nS: 250 taken", 1)+bye+"\n---\n", 2) + pipelining + strings.Replace(delivered, "S: 250 taken", "PAUSE 1s\nS: 250 taken", 1) + bye
		c := newClient(t, dialogue, smtptest.Options{}, func(c *core.Config) { c.MaxIdleSessions = 1 })
		for range 3 {
			go func() { _, _ = c.Send(t.Context(), message("b@example.com")) }()
		}
		synctest.Wait()
		if s := c.Stats(); s.InUse != 3 || s.Messages != 3 || s.Open != 3 {
			t.Errorf("while they are sent: %+v", s)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if s := c.Stats(); s.Idle != 1 || s.Open != 1 || s.Opened != 3 || s.Closed != 2 {
			t.Errorf("when they were sent: %+v", s)
		}
	})
}

// A caller who leaves while his session is being opened leaves it to the next.
func TestPool_theDialIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, "PAUSE 3s\n"+pipelining+delivered+bye, smtptest.Options{}, func(c *core.Config) { c.MaxSessions = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Send(ctx, message("b@example.com"))
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Stage != core.StageConnect || !errors.Is(err, context.DeadlineExceeded) || core.ClassOf(err) != core.Temporary {
			t.Errorf("who leaves hears %v", err)
		}
		send(t, c)
		if s := c.Stats(); s.Opened != 1 || s.Waits != 2 || s.Waited != 3*time.Second {
			t.Errorf("%+v", s)
		}
	})
}

func TestPool_aSessionThatCannotBeOpenedIsOneCallersFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, "PAUSE 1s\nS: 554 no\n---\nPAUSE 1s\n"+pipelining+delivered+bye, smtptest.Options{}, func(c *core.Config) { c.MaxSessions = 1 })
		first := make(chan error)
		go func() {
			_, err := c.Send(t.Context(), message("b@example.com"))
			first <- err
		}()
		synctest.Wait()
		go send(t, c)
		if err := <-first; !errors.Is(err, core.ErrConnect) {
			t.Error(err)
		}
		<-time.After(2 * time.Second)
		if s := c.Stats(); s.Failed != 1 || s.Opened != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestShutdown(t *testing.T) {
	slow := strings.Replace(delivered, "S: 250 taken", "PAUSE 5s\nS: 250 taken", 1)
	silent := strings.Replace(delivered, "S: 250 taken\n", "HANG\n", 1)
	for _, tt := range []struct {
		rule     string
		dialogue string
		within   time.Duration
		took     time.Duration
		cut      bool
		outcome  string // of the message that is being sent
	}{
		{"waits for the message that is being sent, and says QUIT", pipelining + slow + bye, time.Minute, 5 * time.Second, false, "accepted 250"},
		{"cuts off what is not done in time", pipelining + silent, time.Second, time.Second, true, "unknown"},
		{"cuts off a session that is being opened", "HANG", time.Second, 0, false, "deferred"},
		{"a server that does not answer QUIT has its time", pipelining + slow + "C: QUIT\nHANG", time.Minute, 10 * time.Second, false, "accepted 250"},
		{"but not more than the caller has", pipelining + slow + "C: QUIT\nHANG", 7 * time.Second, 7 * time.Second, true, "accepted 250"},
	} {
		for _, depth := range []int{1, 16} {
			t.Run(tt.rule, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newClient(t, tt.dialogue, smtptest.Options{}, func(c *core.Config) { c.PipelineDepth = depth })
					sent := make(chan *core.Receipt, 1)
					go func() {
						receipt, _ := c.Send(t.Context(), message("b@example.com"))
						sent <- receipt
					}()
					synctest.Wait()
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), tt.within)
					defer cancel()
					err := c.Shutdown(ctx)
					if cut := errors.Is(err, context.DeadlineExceeded); cut != tt.cut || err != nil && !cut {
						t.Errorf("Shutdown: %v", err)
					}
					if took := time.Since(began); took != tt.took {
						t.Errorf("it took %v, want %v", took, tt.took)
					}
					if s := c.Stats(); s.Open != 0 {
						t.Errorf("there are sessions left: %+v", s)
					}
					if got := outcomes(<-sent); got != tt.outcome {
						t.Errorf("the message is %s, want %s", got, tt.outcome)
					}
					if _, err := c.Send(t.Context(), message("b@example.com")); !errors.Is(err, core.ErrClosed) {
						t.Errorf("a message after it: %v", err)
					}
				})
			})
		}
	}
}

// A message that was deferred by the server is not refused because the client is
// closed meanwhile.
func TestShutdown_aDeferredMessageStaysDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again := core.Interceptor{Name: "again", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				_ = next(ctx, d)
				<-time.After(time.Minute)
				return next(ctx, d)
			}
		}}
		c := newClient(t, pipelining+"C: MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\nC| DATA\nS: 250 ok\nS: 450 later\nS: 503 nobody"+bye, smtptest.Options{}, with(again))
		sent := make(chan *core.Receipt, 1)
		go func() {
			receipt, _ := c.Send(t.Context(), message("b@example.com"))
			sent <- receipt
		}()
		synctest.Wait()
		if err := c.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := outcomes(<-sent); got != "deferred 450" {
			t.Errorf("the message is %s", got)
		}
	})
}

// Servers that end sessions in their own ways: no message is lost, none is
// doubled, and nobody sees an error that the pool could have avoided.
func TestPool_serversThatEndSessions(t *testing.T) {
	three := pipelining + delivered + delivered + delivered
	refused := "C: MAIL FROM:<a@example.com>\nC| RCPT TO:<c@example.com>\nC| DATA\nS: 250 ok\nS: 550 no\nS: 503 nobody\n"
	for _, tt := range []struct {
		rule     string
		dialogue string
		to       []string
	}{
		{"each session after three messages", three + "CLOSE\n---\n" + three + "CLOSE\n---\n" + pipelining + delivered + bye, []string{"b", "b", "b", "b", "b", "b", "b"}},
		{"with a 421 after three messages", three + "S: 421 enough\nCLOSE\n---\n" + pipelining + delivered + bye, []string{"b", "b", "b", "b"}},
		{"with a 421 at the first RSET", pipelining + refused + "C: RSET\nC| MAIL FROM:<a@example.com>\nC| RCPT TO:<b@example.com>\nC| DATA\nS: 421 no RSET here\nCLOSE\n---\n" + pipelining + delivered + bye, []string{"c", "b"}},
		{"idle ones, with octets that nobody asked for", pipelining + delivered + "PAUSE 1s\nS: 250 what\nCLOSE\n---\n" + pipelining + delivered + bye, []string{"b", "b"}},
	} {
		for _, depth := range []int{1, 16} {
			t.Run(tt.rule, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newClient(t, tt.dialogue, smtptest.Options{}, func(c *core.Config) { c.PipelineDepth = depth })
					for i, to := range tt.to {
						receipt, err := c.Send(t.Context(), message(to+"@example.com"))
						want := "accepted 250"
						if to == "c" {
							want = "refused 550"
						}
						if got := outcomes(receipt); got != want || receipt.Attempts != 1 {
							t.Errorf("message %d is %s after %d attempts: %v", i, got, receipt.Attempts, err)
						}
						<-time.After(2 * time.Second)
					}
				})
			})
		}
	}
}

// Whatever a server does, a thousand messages that are under way when a client
// is shut down each have an outcome, and nothing is left.
func TestShutdown_inTheMiddleOfEverything(t *testing.T) {
	for _, depth := range []int{1, 16} {
		synctest.Test(t, func(t *testing.T) {
			c := newServed(t, func(n int, conn net.Conn) {
				if n%3 == 0 {
					return // hangs up
				}
				(&bdatServer{}).serve(conn)
			}, shared(depth, 8))
			done := make(chan *core.Receipt)
			for i := range 1000 {
				go func() {
					receipt, _ := c.Send(t.Context(), numbered(i))
					done <- receipt
				}()
			}
			for range 100 {
				<-done
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = c.Shutdown(ctx)
			if s := c.Stats(); s.Open != 0 || s.Waiting != 0 {
				t.Errorf("%+v", s)
			}
			for range 900 {
				<-done
			}
		})
	}
}

// Everything that happened is told before Shutdown returns.
func TestShutdown_tellsEverythingFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened, ended int
		slow := core.Interceptor{Name: "slow", Pool: func(e core.PoolEvent) {
			switch e.Kind {
			case core.SessionOpened:
				opened++
			case core.SessionEnded:
				<-time.After(time.Millisecond)
				ended++
			}
		}}
		c := newServed(t, func(_ int, conn net.Conn) { (&bdatServer{}).serve(conn) }, with(slow))
		if err := c.SendAll(t.Context(), numberedUpTo(8), nil); err != nil {
			t.Error(err)
		}
		if err := c.Shutdown(t.Context()); err != nil || opened == 0 || opened != ended {
			t.Errorf("%d were opened, and %d have ended: %v", opened, ended, err)
		}
	})
}

// numberedUpTo yields n messages, endlessly many if n is negative.
func numberedUpTo(n int) func(func(*core.Message) bool) {
	return func(yield func(*core.Message) bool) {
		for i := 0; i != n && yield(numbered(i)); i++ {
		}
	}
}

func TestSendAll_endsWhenTheClientIsShutDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newServed(t, func(_ int, conn net.Conn) { (&bdatServer{}).serve(conn) })
		results, refused := 0, 0
		err := c.SendAll(t.Context(), numberedUpTo(-1), func(r core.Result) {
			if results++; results == 100 {
				go func() { _ = c.Shutdown(context.Background()) }()
			}
			refused += r.Receipt.Count(core.Refused)
		})
		if !errors.Is(err, core.ErrClosed) || refused > 0 {
			t.Errorf("after %d results, %d of them refused: %v", results, refused, err)
		}
	})
}

func TestReceipt_ofNoMessage(t *testing.T) {
	var r *core.Receipt
	if r.QueueID() != "" || r.Count(core.Accepted) != 0 {
		t.Error("it has something")
	}
}

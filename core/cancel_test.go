package core_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/mechanisms"
)

// stall is a point at which a server, or the body, makes no progress.
type stall struct {
	point    string
	dialogue string
	outcome  core.Outcome
	stage    core.Stage
	limit    time.Duration // the stage's own, RFC 5321 §4.5.3.2
	change   func(*core.Config, *core.Message)
	options  smtptest.Options
}

// stalls returns a server that stalls at each point of a delivery.
func stalls(t *testing.T) []stall {
	serverTLS, clientTLS := smtptest.NewCertificate(t, "server.example")
	const (
		hello    = "S: 220 hi\nC: EHLO client.example\n"
		starttls = hello + "S: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\n"
		auth     = hello + "S: 250-mx\nS: 250 AUTH X-TWO\nC: AUTH X-TWO\n"
		step     = hello + "S: 250 mx\nC: MAIL FROM:<a@example.com>\n"
	)
	withTLS := func(c *core.Config, _ *core.Message) { c.TLS = clientTLS }
	withAuth := func(c *core.Config, _ *core.Message) { c.Auth = []core.Mechanism{twoSteps{}} }
	large := func(_ *core.Config, m *core.Message) { m.Body = core.Bytes(make([]byte, 1<<20)) }
	return []stall{
		{"greeting", "HANG", core.Deferred, core.StageConnect, 5 * time.Minute, nil, smtptest.Options{}},
		{"greeting, half of it", `S~ "220-x"` + "\nHANG", core.Deferred, core.StageConnect, 5 * time.Minute, nil, smtptest.Options{}},
		{"implicit TLS", "IGNORE", core.Deferred, core.StageTLS, time.Minute, func(c *core.Config, _ *core.Message) { c.Transports = []core.Transport{secured{c.Transports[0]}} }, smtptest.Options{}},
		{"EHLO", hello + "HANG", core.Deferred, core.StageHello, 5 * time.Minute, nil, smtptest.Options{}},
		{"STARTTLS", starttls + "HANG", core.Deferred, core.StageTLS, time.Minute, withTLS, smtptest.Options{}},
		{"TLS handshake", starttls + "S: 220 go\nIGNORE", core.Deferred, core.StageTLS, time.Minute, withTLS, smtptest.Options{}},
		{"EHLO under TLS", starttls + "S: 220 go\nTLS\nC: EHLO client.example\nHANG", core.Deferred, core.StageHello, 5 * time.Minute, withTLS, smtptest.Options{TLS: serverTLS}},
		{"AUTH", auth + "HANG", core.Deferred, core.StageAuth, 2 * time.Minute, withAuth, smtptest.Options{}},
		{"AUTH, after a challenge", auth + "S: 334 eA==\nC: eQ==\nHANG", core.Deferred, core.StageAuth, 2 * time.Minute, withAuth, smtptest.Options{}},
		{"MAIL", step + "HANG", core.Deferred, core.StageMail, 5 * time.Minute, nil, smtptest.Options{}},
		{"RCPT", step + "S: 250 ok\nC: RCPT TO:<b@example.com>\nHANG", core.Deferred, core.StageRcpt, 5 * time.Minute, nil, smtptest.Options{}},
		{"F14 the third reply of a group", pipelining + envelope + "S: 250 ok\nS: 250 ok\nHANG", core.Deferred, core.StageContent, 2 * time.Minute, nil, smtptest.Options{}},
		{"DATA", step + "S: 250 ok\nC: RCPT TO:<b@example.com>\nS: 250 ok\nC: DATA\nHANG", core.Deferred, core.StageContent, 2 * time.Minute, nil, smtptest.Options{}},
		{"G5 the content, the server reads no more", pipelining + envelope + goOn + "STALL", core.Deferred, core.StageContent, 3 * time.Minute, large, smtptest.Options{}},
		{"G7 the reply to the content", pipelining + envelope + goOn + "C: hi\nC| .\nHANG", core.Unknown, core.StageContent, 10 * time.Minute, nil, smtptest.Options{}},
		{"G7 the reply to large content", pipelining + envelope + goOn + "C: " + strings.Repeat("x", 1<<10) + "\n" + strings.Repeat("C| "+strings.Repeat("x", 1<<10)+"\n", 30) + "IGNORE", core.Unknown, core.StageContent, 10 * time.Minute,
			func(_ *core.Config, m *core.Message) {
				m.Body = core.String(strings.Repeat(strings.Repeat("x", 1<<10)+"\r\n", 100))
			}, smtptest.Options{}},
	}
}

// twoSteps is a mechanism that answers any challenge with y.
type twoSteps struct{}

func (twoSteps) Name() string { return "X-TWO" }
func (twoSteps) Start(context.Context, *core.Peer) (core.Authentication, []byte, error) {
	return twoSteps{}, nil, nil
}
func (twoSteps) Next(context.Context, []byte) ([]byte, error) { return []byte("y"), nil }
func (twoSteps) Done(context.Context) error                   { return nil }

// sendStalled sends a message to a server that stalls.
func sendStalled(t *testing.T, ctx context.Context, s stall) (*core.Receipt, error) {
	m := message("b@example.com")
	c := newClient(t, s.dialogue, s.options, func(config *core.Config) {
		if s.change != nil {
			s.change(config, m)
		}
	})
	return c.Send(ctx, m)
}

func TestSend_cancelReturnsAtOnce_J1(t *testing.T) {
	for _, s := range stalls(t) {
		t.Run(s.point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				why := errors.New("the user left")
				var (
					receipt *core.Receipt
					err     error
					done    = make(chan time.Time)
				)
				go func() {
					receipt, err = sendStalled(t, ctx, s)
					done <- time.Now()
				}()
				synctest.Wait() // until nothing moves any more
				start := time.Now()
				cancel(why)
				if took := (<-done).Sub(start); took > 0 {
					t.Errorf("returned %v after the cancel", took)
				}
				if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
					t.Errorf("error %v is neither the cancel nor its cause", err)
				}
				if o := receipt.Recipients[0].Outcome; o != s.outcome {
					t.Errorf("outcome %s, want %s: %v", o, s.outcome, err)
				}
			})
		})
	}
}

func TestSend_deadlineOfTheContext_J2(t *testing.T) {
	for _, s := range stalls(t) {
		t.Run(s.point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				start := time.Now()
				receipt, err := sendStalled(t, ctx, s)
				if took := time.Since(start); took != 300*time.Millisecond {
					t.Errorf("returned after %v, want 300ms", took)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v is not the context's", err)
				}
				if o := receipt.Recipients[0].Outcome; o != s.outcome {
					t.Errorf("outcome %s, want %s: %v", o, s.outcome, err)
				}
			})
		})
	}
}

func TestSend_eachStageHasItsOwnTimeout(t *testing.T) {
	for _, s := range stalls(t) {
		t.Run(s.point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				receipt, err := sendStalled(t, t.Context(), s)
				if took := time.Since(start); took != s.limit && took != s.limit+time.Second { // a second for last words
					t.Errorf("returned after %v, want %v (RFC 5321 §4.5.3.2)", took, s.limit)
				}
				e := hasError(t, err, s.stage, core.Temporary, nil)
				if !e.Timeout() && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("error %v is no timeout", err)
				}
				if o := receipt.Recipients[0].Outcome; o != s.outcome {
					t.Errorf("outcome %s, want %s: %v", o, s.outcome, err)
				}
			})
		})
	}
}

func TestSend_cancelWhileTheBodyBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+"IGNORE", smtptest.Options{})
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		m := message("b@example.com")
		m.Body = core.Reader(r)
		done := make(chan error)
		go func() {
			receipt, err := c.Send(ctx, m)
			if o := receipt.Recipients[0].Outcome; o != core.Deferred {
				t.Errorf("outcome %s", o)
			}
			done <- err
		}()
		if _, err := io.WriteString(w, "half a message"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := io.WriteString(w, "more"); err == nil {
			t.Error("the body was not closed")
		}
	})
}

func TestSend_cancelWhileWaitingForASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, "HANG", smtptest.Options{}, func(config *core.Config) { config.MaxSessions = 1 })
		first, stop := context.WithCancel(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		send := func(ctx context.Context) {
			_, err := c.Send(ctx, message("b@example.com"))
			done <- err
		}
		go send(first)
		synctest.Wait()
		go send(ctx)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		stop()
		<-done
	})
}

func TestSend_cancelWhileDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := smtptest.NewScript(t, "", smtptest.Options{}).Config()
		config.Transports = []core.Transport{blackHole{config.Transports[0]}}
		c, err := core.NewClient(smtptest.AtDepth(config))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		receipt, err := c.Send(ctx, message("b@example.com"))
		if took := time.Since(start); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("returned %v after %v", err, took)
		}
		if got := outcomes(receipt); got != "deferred" {
			t.Error(got)
		}
		// The next waits for what is being opened already, and the one after
		// that for its own.
		for _, want := range []time.Duration{59 * time.Second, time.Minute} {
			start = time.Now()
			_, err = c.Send(t.Context(), message("b@example.com"))
			if took := time.Since(start); took != want {
				t.Errorf("without a deadline it returned %v after %v, want %v", err, took, want)
			}
		}
	})
}

// blackHole is a transport whose Dial gets no answer.
type blackHole struct{ core.Transport }

func (blackHole) Dial(ctx context.Context, _ core.Endpoint) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSend_aSessionSurvivesTheDeadlinesOfTheLastMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+sent+envelope+goOn+sent+bye, smtptest.Options{}, func(config *core.Config) {
			config.Timeouts = core.Timeouts{Mail: time.Second, Rcpt: time.Second, Data: time.Second, Write: time.Second, Content: time.Second}
		})
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.Send(ctx, message("b@example.com")); err != nil {
				t.Error(err)
			}
			cancel()
			<-time.After(20 * time.Second)
		}
	})
}

func TestClient_closesIdleSessionsWithQuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, pipelining+envelope+goOn+sent+bye+"---\n"+pipelining+envelope+goOn+sent+bye, smtptest.Options{})
		for range 2 {
			if _, err := c.Send(t.Context(), message("b@example.com")); err != nil {
				t.Error(err)
			}
			<-time.After(core.DefaultIdleTimeout + time.Second)
		}
	})
}

func TestClient_refusesWorkAfterClose(t *testing.T) {
	c := newClient(t, "", smtptest.Options{}, func(config *core.Config) { config.Auth = mechanisms.Password("u", "p") })
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	receipt, err := c.Send(t.Context(), message("b@example.com"))
	if got := outcomes(receipt); got != "deferred" || !errors.Is(err, core.ErrClosed) {
		t.Error(got, err)
	}
}

//go:build unix

package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
	"github.com/postrider/postrider/core/smtptest"
	"github.com/postrider/postrider/middleware/retry"
	"github.com/postrider/postrider/plugins"
)

// mailer is a client with a plugin's interceptor, and the server that it sends to.
type mailer struct {
	*core.Client
	server *smtptest.Server
}

// newMailer makes a client that has the interceptor of a plugin, between others.
func newMailer(t testing.TB, p *plugins.Plugin, options smtptest.ServerOptions, inFront ...core.Interceptor) *mailer {
	t.Helper()
	i, err := p.Interceptor("policy")
	if err != nil {
		t.Fatal(err)
	}
	server := smtptest.NewServer(t, options)
	config := server.Config()
	config.Interceptors = append(inFront, i)
	client, err := core.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &mailer{client, server}
}

// letter has the policy do something.
func letter(what string, to ...string) *core.Message {
	m := message()
	m.From = what + "@example.com"
	if len(to) > 0 {
		m.To = core.Recipients(to...)
	}
	return m
}

// held checks that a message was deferred by a failure of the plugin, and that
// nothing of it was sent.
func (m *mailer) held(t *testing.T, receipt *core.Receipt, err, kind error) {
	t.Helper()
	if receipt.Count(core.Deferred) != len(receipt.Recipients) {
		t.Errorf("%d recipients, %d of them are deferred", len(receipt.Recipients), receipt.Count(core.Deferred))
	}
	var d *core.DeliveryError
	if !errors.As(err, &d) || len(d.Unwrap()) != 1 {
		t.Fatalf("it is not one error: %v", err)
	}
	e, ok := d.Unwrap()[0].(*core.Error)
	if !ok || e.Stage != core.StagePolicy || e.Class != core.Temporary || !errors.Is(e, kind) {
		t.Errorf("%T %v, want one of the kind %v", err, err, kind)
	}
	if p, ok := errors.AsType[*plugins.Error](err); !ok || !strings.Contains(err.Error(), "plugin "+p.Plugin+": ") {
		t.Errorf("it does not name the plugin: %v", err)
	}
	if receipt.Attempts != 0 {
		t.Errorf("%d attempts", receipt.Attempts)
	}
}

// works sees that messages are sent.
func (m *mailer) works(t *testing.T) {
	t.Helper()
	if receipt, err := m.Send(t.Context(), letter("well", "bob@example.net", "carol@example.net")); err != nil || receipt.Count(core.Accepted) != 2 {
		t.Error(err)
	}
}

func TestInterceptor_decides(t *testing.T) {
	f := newFixture(t, "policy")
	p := f.start(t)
	for _, tt := range []struct {
		what, outcomes, says, from, to string
	}{
		{"well", "accepted accepted accepted", "", "well@example.com", "bob@example.net carol@example.net dave@example.net"},
		{"refuse", "refused refused refused", "policy: interceptor policy of plugin plugins.test: not these", "", ""},
		{"defer", "deferred deferred deferred", "policy: interceptor policy of plugin plugins.test: the quota is used up (come again)", "", ""},
		{"refuse-second", "accepted refused accepted", "not this one", "refuse-second@example.com", "bob@example.net dave@example.net"},
		{"change", "accepted accepted accepted", "", "bounces@example.com", "alias@example.net carol@example.net dave@example.net"},
		{"panic", "deferred deferred deferred", "it panicked: the plugin's log has the stack", "", ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			m := newMailer(t, p, smtptest.ServerOptions{})
			receipt, err := m.Send(t.Context(), letter(tt.what, "bob@example.net", "carol@example.net", "dave@example.net"))
			var outcomes []string
			for _, r := range receipt.Recipients {
				outcomes = append(outcomes, r.Outcome.String())
			}
			if got := strings.Join(outcomes, " "); got != tt.outcomes || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v", got, err)
			}
			var from, to string
			for _, got := range m.server.Messages() {
				from, to = got.From, strings.Trim(fmt.Sprint(got.To), "[]")
				if has := strings.HasPrefix(string(got.Content), "X-Policy: 3 recipients, 45 octets\r\nFrom: "); has != (tt.what == "change") {
					t.Errorf("%s", got.Content)
				}
			}
			if from != tt.from || to != tt.to {
				t.Errorf("from %s to %s", from, to)
			}
			if tt.to == "" && m.Stats().Opened != 0 {
				t.Error("a session was opened")
			}
		})
	}
	f.log.await(t, `level=INFO msg=reported plugin=plugins.test code=250 outcome=accepted text=""`)
	f.log.await(t, `outcome=refused text="policy: interceptor policy of plugin plugins.test: not this one"`)
	if _, err := p.Interceptor("other"); err == nil || !strings.Contains(err.Error(), "it has no interceptor \"other\" (it has: policy)") {
		t.Error(err)
	}
	if a := p.About(); strings.Join(a.Interceptors, " ") != "policy" {
		t.Errorf("%+v", a)
	}
}

// What a delivery ends with, and whether the process is another one afterwards. It
// fails closed: nothing is opened.
func TestInterceptor_fails(t *testing.T) {
	for _, tt := range []struct {
		rule, what string
		kind       error
		restarts   bool
	}{
		{"E15 it dies", "crash", plugins.ErrEnded, true},
		{"E15 it hangs", "hang", plugins.ErrLate, false},
		{"E15 it answers after the deadline", "late", plugins.ErrLate, false},
		{"it is stopped by SIGSTOP", "stop", plugins.ErrLate, true},
		{"E15 it returns 100 MB", "large", plugins.ErrBroken, false},
		{"E1 line ends in a header field", "lines", plugins.ErrBroken, false},
		{"E1 line ends in an address", "injection", plugins.ErrBroken, false},
		{"a recipient that there is not", "nobody", plugins.ErrBroken, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := newFixture(t, "policy")
			f.config.CallTimeout, f.config.HealthTimeout = 500*time.Millisecond, 500*time.Millisecond
			f.config.StopTimeout = 200 * time.Millisecond
			if tt.what == "large" {
				f.config.CallTimeout = patience
			}
			p, err := plugins.Start(t.Context(), f.config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close(context.Background()) }() // one that hangs is killed
			m := newMailer(t, p, smtptest.ServerOptions{})
			f.await(t, plugins.Ready)
			pid := p.Status().PID
			receipt, err := m.Send(t.Context(), letter(tt.what, "bob@example.net", "carol@example.net"))
			m.held(t, receipt, err, tt.kind)
			if m.Stats().Opened != 0 || len(m.server.Messages()) != 0 {
				t.Error("something was sent")
			}
			if tt.restarts {
				f.await(t, plugins.BackingOff)
				f.await(t, plugins.Ready)
			}
			if now := p.Status().PID; (now != pid) != tt.restarts {
				t.Errorf("process %d, and then %d", pid, now)
			}
			m.works(t)
		})
	}
}

// A process that dies takes nothing with it but what it was being asked: what it has
// admitted goes on, and so does another plugin's.
func TestInterceptor_othersAreUntouched(t *testing.T) {
	f, g := newFixture(t, "policy"), newFixture(t, "policy")
	p, other := f.start(t), newMailer(t, g.start(t), smtptest.ServerOptions{})
	content, goOn := make(chan struct{}), make(chan struct{})
	m := newMailer(t, p, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		close(content)
		<-goOn
		return nil
	}})
	f.await(t, plugins.Ready)
	admitted := make(chan error, 1)
	go func() {
		_, err := m.Send(t.Context(), letter("well"))
		admitted <- err
	}()
	<-content
	receipt, err := m.Send(t.Context(), letter("crash"))
	m.held(t, receipt, err, plugins.ErrEnded)
	f.await(t, plugins.BackingOff)
	close(goOn)
	if err := <-admitted; err != nil {
		t.Errorf("what was admitted: %v", err)
	}
	other.works(t)
	f.await(t, plugins.Ready)
}

func TestInterceptor_failsFastWhileDown(t *testing.T) {
	f := newFixture(t, "policy")
	f.config.Restart.Budget = -1
	p := f.start(t)
	m := newMailer(t, p, smtptest.ServerOptions{})
	kill(t, f.await(t, plugins.Ready).PID, syscall.SIGKILL)
	f.await(t, plugins.Disabled)
	receipt, err := m.Send(t.Context(), letter("well"))
	m.held(t, receipt, err, plugins.ErrDown)
	p.Enable()
	f.await(t, plugins.Ready)
	m.works(t)
}

func TestInterceptor_endsWithTheContext(t *testing.T) {
	f := newFixture(t, "policy")
	f.config.StopTimeout = 100 * time.Millisecond
	p, err := plugins.Start(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close(context.Background()) }()
	m := newMailer(t, p, smtptest.ServerOptions{})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer wanted")
	sent := make(chan struct{})
	var receipt *core.Receipt
	go func() {
		defer close(sent)
		receipt, err = m.Send(ctx, letter("hang"))
	}()
	f.log.await(t, "hanging")
	cancel(why)
	<-sent
	m.held(t, receipt, err, context.Canceled)
	m.held(t, receipt, err, why)
	m.works(t)
}

// What becomes of a report is nothing to the message.
func TestInterceptor_aReportThatFails(t *testing.T) {
	for _, tt := range []struct{ to, logs string }{
		{"report-crash@example.net", "its process ended"},
		{"report-hang@example.net", "no answer in time"},
		{"report-panic@example.net", "panic in interceptor policy"},
	} {
		t.Run(tt.to, func(t *testing.T) {
			f := newFixture(t, "policy")
			f.config.CallTimeout = 500 * time.Millisecond
			p := f.start(t)
			m := newMailer(t, p, smtptest.ServerOptions{})
			if receipt, err := m.Send(t.Context(), letter("well", tt.to)); err != nil || receipt.Count(core.Accepted) != 1 {
				t.Error(err)
			}
			f.log.await(t, tt.logs)
			if told := !strings.Contains(f.log.String(), `msg="the plugin was not told what became of a delivery" plugin=plugins.test interceptor=policy error="policy: plugin plugins.test: `); told != (tt.logs[0] == 'p') {
				t.Errorf("%s", f.log)
			}
		})
	}
}

// A context that has ended is not waited for, but for some last words.
func TestInterceptor_reportsWhenTheContextHasEnded(t *testing.T) {
	f := newFixture(t, "policy")
	ctx, cancel := context.WithCancel(t.Context())
	m := newMailer(t, f.start(t), smtptest.ServerOptions{Rcpt: func(smtptest.Envelope, smtptest.Recipient) *core.Reply {
		cancel()
		return smtptest.Reply("450 4.2.0 later")
	}})
	receipt, err := m.Send(ctx, letter("well"))
	if receipt.Count(core.Accepted) != 0 {
		t.Error(err)
	}
	f.log.await(t, "msg=reported")
	if !strings.Contains(f.log.String(), "outcome="+receipt.Recipients[0].Outcome.String()) {
		t.Errorf("%v\n%s", receipt.Recipients[0].Outcome, f.log)
	}
}

// Nothing is asked, and nothing is sent.
func TestInterceptor_anEnvelopeThatIsTooLarge(t *testing.T) {
	m := newMailer(t, newFixture(t, "policy").start(t), smtptest.ServerOptions{})
	large := letter("crash")
	large.To = nil
	for n := range 20_000 {
		large.To = append(large.To, core.Recipient{Address: fmt.Sprintf("bob%d@example.net", n)})
	}
	receipt, err := m.Send(t.Context(), large)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Class != core.Local || e.Stage != core.StagePolicy || receipt.Count(core.Refused) != len(large.To) {
		t.Error(err)
	}
	for _, says := range []string{"the envelope, of 20000 recipients, is too large for interceptor policy of plugin plugins.test", "1048576 are the most", "fewer recipients"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

// It is asked before the first attempt, and says so if it cannot be.
func TestInterceptor_behindARetry(t *testing.T) {
	again, err := retry.New(retry.Config{Attempts: 2, InitialInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var reason error
	listen := core.Interceptor{Name: "listen", Delivery: func(next core.DeliverFunc) core.DeliverFunc {
		return func(ctx context.Context, d *core.Delivery) error {
			reason = next(ctx, d)
			return reason
		}
	}}
	m := newMailer(t, newFixture(t, "policy").start(t), smtptest.ServerOptions{Mail: func(smtptest.Envelope) *core.Reply {
		return smtptest.Reply("451 4.3.0 later")
	}}, again, listen)
	receipt, _ := m.Send(t.Context(), letter("well"))
	if receipt.Attempts != 1 || receipt.Count(core.Deferred) != 1 || core.ClassOf(reason) != core.Local || !strings.Contains(reason.Error(), "put it in front of the interceptor that tries again") {
		t.Errorf("%d attempts: %v", receipt.Attempts, reason)
	}
}

// kill -9 while a hundred sends are under way.
func TestInterceptor_aHundredSendsAreAccountedFor(t *testing.T) {
	f := newFixture(t, "policy")
	p := f.start(t)
	const sends = 100
	var arrived atomic.Int32
	half := make(chan struct{})
	m := newMailer(t, p, smtptest.ServerOptions{Content: func(smtptest.Message) *core.Reply {
		if arrived.Add(1) == sends/2 {
			close(half)
		}
		return nil
	}})
	pid := f.await(t, plugins.Ready).PID
	go func() {
		<-half
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}()
	var accepted, failed atomic.Int32
	send := func() {
		receipt, err := m.Send(t.Context(), letter("well"))
		switch {
		case err == nil && receipt.Count(core.Accepted) == 1:
			accepted.Add(1)
		case receipt.Count(core.Deferred) == 1 && core.ClassOf(err) == core.Temporary:
			if _, ok := errors.AsType[*plugins.Error](err); !ok {
				t.Errorf("it is not the plugin's failure: %v", err)
			}
			failed.Add(1)
		default:
			t.Errorf("%v", err)
		}
	}
	var sending sync.WaitGroup
	const senders = 10
	for range senders {
		sending.Go(func() {
			for range sends / senders {
				send()
			}
		})
	}
	sending.Wait()
	if accepted.Load()+failed.Load() != sends || int(accepted.Load()) != len(m.server.Messages()) {
		t.Errorf("%d accepted and %d failed of %d, and the server has %d", accepted.Load(), failed.Load(), sends, len(m.server.Messages()))
	}
	if accepted.Load() == 0 || failed.Load() == 0 {
		t.Errorf("it was not in the middle: %d accepted, %d failed", accepted.Load(), failed.Load())
	}
	f.await(t, plugins.BackingOff)
	f.await(t, plugins.Ready)
	m.works(t)
}

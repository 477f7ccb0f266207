package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/postrider/postrider/core"
)

// send is the command: it sends each of the files over the sessions that it
// keeps.
func send(ctx context.Context, s *settings, sys *system) error {
	if err := s.checkEnvelope(); err != nil {
		return err
	}
	if len(s.files) == 0 {
		if term.IsTerminal(int(sys.stdin.Fd())) {
			return usage("there is no message: name a file, or give - to write it here")
		}
		s.files = []string{"-"}
	}
	if i := slices.Index(s.files, "-"); i >= 0 && slices.Contains(s.files[i+1:], "-") {
		return usage("standard input, -, is there twice: it can be read once")
	}
	// What is wrong with the command line is said before any file is read.
	if err := s.checkCredentials(); err != nil {
		return err
	}
	config, err := s.reach()
	if err != nil {
		return err
	}
	from := stock{w: sys.stderr}
	if err := s.makeInterceptors(from); err != nil {
		return err
	}
	var secrets redactor
	if config.Auth, secrets, err = s.authentication(ctx); err != nil {
		return err
	}
	if err := s.protect(&config); err != nil {
		return err
	}
	ctx, release := s.bound(ctx)
	defer release()
	w := &work{s: s, stdin: sys.stdin, underway: map[*core.Message]*job{}, tries: map[*core.Receipt]int{}}
	from.plugins, err = s.startPlugins(ctx, sys)
	if err == nil {
		defer from.plugins.close()
		err = w.open(config, from)
	}
	w.results = newReporter(s, sys, secrets, w.authenticates)
	if statusOf(err, false) == deferred {
		ctx, release := interruptible(ctx, sys)
		defer release()
		w.unsent(ctx, asError(err))
		return w.results.end()
	}
	if err != nil {
		return err
	}
	w.run(ctx, sys)
	w.part(ctx, sys)
	return w.results.end()
}

// open makes the client.
func (w *work) open(config core.Config, from stock) (err error) {
	if err := w.s.complete(&config, from.plugins); err != nil {
		return err
	}
	if config.Interceptors, err = w.s.pipeline(from); err != nil {
		return err
	}
	config.Interceptors = append(config.Interceptors, w.interceptor())
	w.authenticates = len(config.Auth) > 0
	if _, err := core.ChooseMechanism(config, &core.Peer{}); err != nil {
		if pluginFailed(err) {
			return &core.Error{Stage: core.StageConfig, Class: core.Temporary, Err: err}
		}
		return &ended{misconfigured, said(err)} // a password that cannot be one, say
	}
	if w.client, err = core.NewClient(config); err != nil {
		return w.s.fault(err, "endpoints", "interceptors")
	}
	return nil
}

// part says goodbye to the servers. An interrupt ends that, as -deadline does.
func (w *work) part(ctx context.Context, sys *system) {
	ctx, release := interruptible(ctx, sys)
	defer release()
	ctx, cancel := context.WithTimeout(ctx, quitTimeout)
	defer cancel()
	_ = w.client.Shutdown(ctx) // all messages have their outcomes
}

// unsent reports all messages: none was begun, because of an error. After an
// interrupt nothing is waited for.
func (w *work) unsent(ctx context.Context, err *core.Error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if errors.Is(err, errInterrupted) {
		cancel(errInterrupted)
	}
	for n, name := range w.s.files {
		if !w.results.goesOn() {
			return
		}
		m, done, unfit := w.s.open(ctx, name, w.stdin)
		if unfit == nil {
			unfit = m.Check()
		}
		switch e := unfitError(unfit); {
		case unfit != nil && e.Class != core.Temporary:
			w.results.unsent(n, m, e)
		default:
			w.results.unsent(n, m, err)
		}
		done()
	}
}

// work is one run of the command.
type work struct {
	s       *settings
	stdin   *os.File
	client  *core.Client
	results *reporter
	next    int // the index of the first file that was not begun
	// authenticates says that there is something to authenticate with.
	authenticates bool

	mu       sync.Mutex
	underway map[*core.Message]*job
	// tries is how many times each was tried, those times included when no session
	// could be opened. The message itself may be rewritten on its way.
	tries        map[*core.Receipt]int
	transactions int // that are under way
	// failed is the server that a session could not be opened with, the last one.
	failed      atomic.Pointer[core.Peer]
	interrupted bool
	cancel      context.CancelCauseFunc
}

// job is one file on its way.
type job struct {
	name string
	n    int // of all files
	done func()
}

// run sends all files, or those that it comes to, and reports every one of them.
func (w *work) run(ctx context.Context, sys *system) {
	ctx, w.cancel = context.WithCancelCause(ctx)
	defer w.cancel(nil)
	over := make(chan struct{})
	defer close(over)
	go w.watch(sys, over)
	// What it returns is in the results, one by one.
	_ = w.client.SendAll(ctx, w.messages(ctx), w.settle)
	for ; w.next < len(w.s.files); w.next++ {
		if !w.results.goesOn() {
			return
		}
		cause := context.Cause(ctx)
		if cause == nil {
			cause = errInterrupted
		}
		w.results.unsent(w.next, nil, &core.Error{Stage: core.StagePolicy, Class: core.Temporary, Err: fmt.Errorf("it was not begun: %w", cause)})
	}
}

// messages yields the message of one file after the other. One that cannot be
// read, or that no server can take, is reported here, and nothing is opened for
// it.
func (w *work) messages(ctx context.Context) iter.Seq[*core.Message] {
	return func(yield func(*core.Message) bool) {
		for w.next < len(w.s.files) && w.goesOn() && w.results.goesOn() {
			n, name := w.next, w.s.files[w.next]
			w.next++
			m, done, err := w.s.open(ctx, name, w.stdin)
			if err == nil {
				err = m.Check()
			}
			if err != nil {
				done()
				w.results.unsent(n, m, unfitError(err))
				continue
			}
			w.mu.Lock()
			w.underway[m] = &job{name: name, n: n, done: done}
			w.mu.Unlock()
			if !yield(m) {
				return
			}
		}
	}
}

// unfitError is the error of a message that was not given to the client.
func unfitError(err error) *core.Error {
	if e, ok := errors.AsType[*core.Error](err); ok {
		return e
	}
	e := &core.Error{Stage: core.StagePolicy, Class: core.Local, Err: fmt.Errorf("the message cannot be read: %w", err)}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNoRoom) || errors.Is(err, syscall.EMFILE) {
		e.Class = core.Temporary
	}
	return e
}

// settle takes the result of one message.
func (w *work) settle(r core.Result) {
	w.mu.Lock()
	j, tries := w.underway[r.Message], w.tries[r.Receipt]
	delete(w.underway, r.Message)
	delete(w.tries, r.Receipt)
	w.mu.Unlock()
	j.done()
	w.results.sent(j, tries, w.failed.Load(), r)
}

// interceptor counts what is under way. It is the innermost of those that see
// deliveries.
func (w *work) interceptor() core.Interceptor {
	return core.Interceptor{
		Name: "mailer",
		Delivery: func(next core.DeliverFunc) core.DeliverFunc {
			return func(ctx context.Context, d *core.Delivery) error {
				due := func(r core.RecipientResult) bool { return r.Outcome == core.Pending || r.Outcome == core.Deferred }
				if slices.ContainsFunc(d.Receipt().Recipients, due) {
					w.mu.Lock()
					w.tries[d.Receipt()]++
					w.mu.Unlock()
				}
				return next(ctx, d)
			}
		},
		Connect: func(next core.ConnectFunc) core.ConnectFunc {
			return func(ctx context.Context, c *core.Connect) error {
				err := next(ctx, c)
				if peer := c.Peer(); err != nil && peer.Addr != nil {
					w.failed.Store(peer)
				}
				return err
			}
		},
		Attempt: func(next core.AttemptFunc) core.AttemptFunc {
			return func(ctx context.Context, a *core.Attempt) error {
				w.count(1)
				defer w.count(-1)
				return next(ctx, a)
			}
		},
	}
}

// count counts transactions. The last one of a run that was interrupted ends it.
func (w *work) count(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.transactions += n
	if w.interrupted && w.transactions == 0 {
		w.cancel(errInterrupted)
	}
}

// errInterrupted is why what was not sent was not.
var errInterrupted = fmt.Errorf("%w: interrupted", context.Canceled)

// patience is how long an interrupted run waits for the transactions that are
// under way. One that were cut off between its content and the reply would be in
// doubt, and perhaps sent twice.
const patience = 5 * time.Second

// goesOn reports whether to begin with another file.
func (w *work) goesOn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.interrupted
}

// watch waits for interrupts: the first ends the run when no transaction is under
// way any more, the second at once.
func (w *work) watch(sys *system, over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-sys.interrupts:
	}
	w.mu.Lock()
	w.interrupted = true
	if w.transactions == 0 {
		w.cancel(errInterrupted)
	}
	w.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-over:
	case <-sys.interrupts:
	case <-timer.C:
	}
	w.cancel(errInterrupted)
}

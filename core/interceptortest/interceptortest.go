// Package interceptortest runs one interceptor through what breaks interceptors:
// servers that refuse, defer and hang up, contexts that end at each stage, next
// that fails or panics, bodies of every kind, many goroutines, a client that is
// shut down.
//
//	func TestStamp(t *testing.T) {
//		interceptortest.Run(t, interceptortest.Config{
//			New: func(t testing.TB) core.Interceptor { return stamp.New() },
//		})
//	}
//
// Each rule is a subtest with a name that says it. Run it with -race as well: the
// rules about many goroutines mean much more then. It takes a second or two, and
// nothing but loopback sockets.
//
// The messages are from alice@example.com to recipients at example.net, and their
// content has From, To and Subject, but where a rule is about content without
// them. Several hundred are sent within a second, up to sixteen at the same time,
// so configure an interceptor that holds messages back such that it does not.
package interceptortest

import (
	"errors"
	"testing"
	"time"

	"github.com/postrider/postrider/core"
)

// DefaultPatience is the Patience of a [Config] that has none.
const DefaultPatience = 10 * time.Second

// Config says which interceptor it is, and what it may do. Without anything but
// New it is one that changes nothing: it observes, or decides whom to admit and
// admits the kit's messages.
type Config struct {
	// New returns the interceptor. It is called once for each case, and what it
	// registers with t.Cleanup is called when the case is over. Goroutines that
	// the interceptor has started are to have ended then; what is to live longer
	// is to be started before Run. It is required.
	New func(t testing.TB) core.Interceptor

	// Expect reports why received is not what the interceptor is to make of sent.
	// Both are content as it is on the wire, with CRLF at the end of each line. If
	// it is nil, content is to arrive unchanged.
	Expect func(sent, received []byte) error

	// MayRefuse reports whether the interceptor may refuse a message on this side,
	// and with this error: a signer refuses a body that can be read only once, for
	// example. It is asked when it has done so. If it is nil, it may refuse none.
	MayRefuse func(m *core.Message, err error) bool

	// Retries says that the interceptor tries recipients again that are Deferred,
	// so that they may be accepted after all. Its waits are to be short.
	Retries bool

	// Patience is how long the kit waits for what should take no time. What takes
	// longer is taken to block for ever; what is to wait for that long is not
	// tested. Zero means DefaultPatience.
	Patience time.Duration
}

// Run runs the interceptor through all cases. What blocks for ever is reported
// and ends the run: its goroutines are still there, and hold who knows what.
func Run(t *testing.T, config Config) {
	t.Helper()
	if err := config.check(); err != nil {
		t.Fatal(err)
	}
	r := newRun(config)
	for _, rule := range r.rules() {
		if r.skips(rule) {
			return
		}
		t.Run(rule.name, func(t *testing.T) {
			for _, c := range rule.cases {
				switch {
				case r.skips(rule):
				case c.name == "":
					report(t, r.examine(t, c))
				default:
					t.Run(c.name, func(t *testing.T) { report(t, r.examine(t, c)) })
				}
			}
		})
	}
}

func report(t *testing.T, found []string) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

func (c *Config) check() error {
	switch {
	case c.New == nil:
		return errors.New("interceptortest: Config.New is nil: it returns the interceptor to be tested")
	case c.Patience < 0:
		return errors.New("interceptortest: Config.Patience is negative")
	}
	if c.Patience == 0 {
		c.Patience = DefaultPatience
	}
	return nil
}

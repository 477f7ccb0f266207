// Package logging writes a structured record of each delivery to a logger of
// log/slog, and more at debug level.
//
// Credentials, content and subjects are never logged. Addresses, and the text of
// replies, in which servers repeat addresses, are logged on request only. What a
// client and a server say to each other is written down by package dialogue.
package logging

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/postrider/postrider/core"
)

// Name is the name of the interceptor.
const Name = "logging"

// The messages of the records. They are always the same; everything else is in
// the attributes.
const (
	Delivery = "smtp delivery" // one Send
	Attempt  = "smtp attempt"  // one transaction that failed, or that was another try
	Connect  = "smtp connect"  // one session opened, or not
	Close    = "smtp close"    // one session of a client closed
)

// Config says what is logged where. The zero value logs deliveries with
// slog.Default, and the rest at debug level.
type Config struct {
	// Logger gets the records. Nil means what slog.Default returns at the time.
	Logger *slog.Logger
	// Level returns the level of a delivery in which a recipient has the
	// outcome; of several, the highest counts. Nil means [DefaultLevel]. It is
	// called concurrently.
	Level func(core.Outcome) slog.Level
	// Attempts is the level for attempts that failed and for those that try
	// again. Nil means debug. With a retry in front of the server, warn may be
	// better: a delivery is logged when all its attempts are over.
	Attempts slog.Leveler
	// Addresses logs the sender's and the recipients' addresses, as they are,
	// and the whole text of errors, with the replies in it. They are personal
	// data: ask whoever is responsible for that where the logs are kept.
	Addresses bool
}

// DefaultLevel returns the level for an outcome: info if the server has accepted
// the message, warn if it may do so later, and error if somebody has to see to
// it, because it was refused or nobody knows.
func DefaultLevel(o core.Outcome) slog.Level {
	switch o {
	case core.Accepted:
		return slog.LevelInfo
	case core.Deferred:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// New returns an interceptor that logs. Put it first, or behind telemetry, whose
// trace and span its records then name. It is safe for concurrent use, and may be
// given to several clients, and to [core.Dial], where it logs the connecting.
//
// The context of the work is passed to the logger. If it has a span of
// OpenTelemetry, the records have the attributes trace_id and span_id.
//
// A delivery waits for the logger. A handler that panics loses the record and
// nothing else: what becomes of a message does not depend on it.
//
// The error is always nil.
func New(config Config) (core.Interceptor, error) {
	l := &logger{Config: config}
	if l.Level == nil {
		l.Level = DefaultLevel
	}
	if l.Attempts == nil {
		l.Attempts = slog.LevelDebug
	}
	return core.Interceptor{Name: Name, Delivery: l.delivery, Attempt: l.attempt, Connect: l.connect, Pool: l.pool}, nil
}

// logger is one interceptor.
type logger struct{ Config }

// to returns where records go.
func (l *logger) to() *slog.Logger {
	if l.Logger != nil {
		return l.Logger
	}
	return slog.Default()
}

// lost is deferred by whatever calls functions of the user's: a handler that
// panics behind a connect, for example, would throw the session away.
func lost() { _ = recover() }

// enabled reports whether a record of a level would be written.
func (l *logger) enabled(ctx context.Context, level slog.Leveler) (yes bool) {
	defer lost()
	return l.to().Enabled(ctx, level.Level())
}

// delivery logs one Send, when it is over.
func (l *logger) delivery(next core.DeliverFunc) core.DeliverFunc {
	return func(ctx context.Context, d *core.Delivery) error {
		err := next(ctx, d)
		l.delivered(ctx, d, err)
		return err
	}
}

func (l *logger) delivered(ctx context.Context, d *core.Delivery, err error) {
	defer lost()
	receipt := d.Receipt()
	var t tally
	for i := range receipt.Recipients {
		t.add(&receipt.Recipients[i], err)
	}
	level := t.level(l.Level)
	to := l.to()
	if !to.Enabled(ctx, level) {
		return
	}
	var room [32]slog.Attr
	attrs := appendEndpoint(room[:0], d.Endpoint())
	attrs = appendPeer(attrs, receipt.Peer)
	attrs = append(attrs, slog.Int(keyAttempts, receipt.Attempts), slog.Duration(keyDuration, time.Since(receipt.Started)))
	attrs = t.appendCounts(attrs)
	attrs = appendQueueID(attrs, receipt.QueueID())
	if l.Addresses {
		attrs = append(attrs, slog.String(keySender, d.Message().From), slog.Any(keyRecipients, addresses(d.Message())))
	}
	attrs = l.appendWorst(attrs, &t)
	to.LogAttrs(ctx, level, Delivery, appendTrace(ctx, attrs)...)
}

func addresses(m *core.Message) []string {
	list := make([]string, len(m.To))
	for i := range m.To {
		list[i] = m.To[i].Address
	}
	return list
}

// attempt logs one transaction, if it failed or was another try.
func (l *logger) attempt(next core.AttemptFunc) core.AttemptFunc {
	return func(ctx context.Context, a *core.Attempt) error {
		if !l.enabled(ctx, l.Attempts) {
			return next(ctx, a)
		}
		begun := time.Now()
		err := next(ctx, a)
		l.attempted(ctx, a, err, time.Since(begun))
		return err
	}
}

func (l *logger) attempted(ctx context.Context, a *core.Attempt, err error, took time.Duration) {
	defer lost()
	var t tally
	for _, i := range a.Recipients() {
		t.add(&a.Results()[i], err)
	}
	// It is not the number that tells: a server may take only so many recipients
	// at once.
	retry := slices.ContainsFunc(a.Recipients(), func(i int) bool { return a.Results()[i].Attempts > 1 })
	if t.err == nil {
		t.err = err // everybody was accepted, and then an interceptor failed
	}
	if t.err == nil && !retry {
		return
	}
	var room [32]slog.Attr
	attrs := appendEndpoint(room[:0], a.Endpoint())
	attrs = appendPeer(attrs, a.Peer())
	attrs = append(attrs, slog.Int(keyNumber, a.Number()), slog.Bool(keyRetry, retry), slog.Duration(keyDuration, took))
	attrs = t.appendCounts(attrs)
	attrs = appendQueueID(attrs, a.Reply().QueueID())
	attrs = l.appendWorst(attrs, &t)
	l.to().LogAttrs(ctx, l.Attempts.Level(), Attempt, appendTrace(ctx, attrs)...)
}

// connect logs one session, opened or not.
func (l *logger) connect(next core.ConnectFunc) core.ConnectFunc {
	return func(ctx context.Context, c *core.Connect) error {
		if !l.enabled(ctx, slog.LevelDebug) {
			return next(ctx, c)
		}
		begun := time.Now()
		err := next(ctx, c)
		l.connected(ctx, c, err, time.Since(begun))
		return err
	}
}

func (l *logger) connected(ctx context.Context, c *core.Connect, err error, took time.Duration) {
	defer lost()
	if err == nil && len(c.Steps) == 0 {
		err = core.ErrNextSkipped // the core finds that out when all have returned
	}
	var room [24]slog.Attr
	attrs := appendEndpoint(room[:0], c.Endpoint)
	attrs = appendPeer(attrs, c.Peer())
	if n := len(c.Steps); err != nil && n > 0 && c.Steps[n-1].Mechanism != "" {
		attrs = append(attrs, slog.String(keyMechanism, c.Steps[n-1].Mechanism)) // that was tried
	}
	attrs = append(attrs, slog.Duration(keyDuration, took))
	attrs = l.appendError(attrs, err, core.StageConnect)
	l.to().LogAttrs(ctx, slog.LevelDebug, Connect, appendTrace(ctx, attrs)...)
}

// pool logs the end of a session.
func (l *logger) pool(e core.PoolEvent) {
	ctx := context.Background() // it belongs to no delivery
	if e.Kind != core.SessionEnded || !l.enabled(ctx, slog.LevelDebug) {
		return
	}
	defer lost()
	var room [16]slog.Attr
	attrs := appendPeer(appendEndpoint(room[:0], e.Endpoint), e.Peer)
	l.to().LogAttrs(ctx, slog.LevelDebug, Close, attrs...)
}

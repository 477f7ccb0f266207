package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/core"
)

// load is the messages that are to be sent, divided among connections.
type load struct {
	messages    int
	connections []*connection

	stopped atomic.Bool
	first   atomic.Pointer[error] // of a message
}

// connection is a client with one session, or one after the other, and its share
// of the messages.
type connection struct {
	load    *load
	client  *core.Client
	message *core.Message
	share   int
	depth   int

	latencies []time.Duration // of what was accepted; their room is made before
	accepted  atomic.Int64    // as many, for the progress
	failed    int
	over      atomic.Bool // the rest of the share is not tried
}

// newLoad makes a client for each connection. It opens nothing.
func newLoad(f *flags, config core.Config, m *core.Message) (*load, error) {
	l := &load{messages: f.n}
	room := make([]time.Duration, f.n)
	for i := range min(f.conns, f.n) {
		share := f.n / f.conns
		if i < f.n%f.conns {
			share++
		}
		client, err := core.NewClient(config)
		if err != nil {
			return nil, err
		}
		l.connections = append(l.connections, &connection{
			load: l, client: client, message: m, share: share, depth: f.depth, latencies: room[:0:share],
		})
		room = room[share:]
	}
	return l, nil
}

// run sends the messages, all connections at once, and measures that.
func (l *load) run(p *progress) measurement {
	end := p.begin(l.messages, l.accepted)
	defer end()
	w := startWatch()
	var connections sync.WaitGroup
	for _, c := range l.connections {
		connections.Go(c.run)
	}
	connections.Wait()
	m := w.stop()
	m.Sent = l.accepted()
	return m
}

// stop ends the run as soon as what is under way is done.
func (l *load) stop() { l.stopped.Store(true) }

// accepted returns how many messages were, so far.
func (l *load) accepted() int {
	n := 0
	for _, c := range l.connections {
		n += int(c.accepted.Load())
	}
	return n
}

// err says that not all were accepted.
func (l *load) err() error {
	accepted, refused := l.accepted(), 0
	for _, c := range l.connections {
		refused += c.failed
	}
	untried := l.messages - accepted - refused
	if refused+untried == 0 {
		return nil
	}
	text := fmt.Sprintf("%d of %s accepted, %d not accepted, %d not tried", accepted, plural(l.messages, "message"), refused, untried)
	if first := l.first.Load(); first != nil {
		return fmt.Errorf("%s; the first error: %w", text, *first)
	}
	return errors.New(text + ", because of an interrupt")
}

// run sends the connection's share and closes the client, which says QUIT.
//
// It has no context that could end: watching one would cost something for each
// message, and the client has its timeouts.
func (c *connection) run() {
	ctx := context.Background()
	if c.depth > 1 {
		_ = c.client.SendAll(ctx, c.messages, func(r core.Result) { c.record(r.Receipt, r.Err) })
	} else {
		for m := range c.messages {
			c.record(c.client.Send(ctx, m))
		}
	}
	_ = c.client.Close() // it has no error
}

// messages yields the message as often as it is to be sent.
func (c *connection) messages(yield func(*core.Message) bool) {
	for range c.share {
		if c.load.stopped.Load() || c.over.Load() || !yield(c.message) {
			return
		}
	}
}

// record notes what became of a message.
func (c *connection) record(receipt *core.Receipt, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	c.latencies = append(c.latencies, receipt.Elapsed)
	c.accepted.Store(int64(len(c.latencies)))
}

// fail notes that a message was not accepted. It is apart from record, in which
// a pointer to err would cost an allocation for each message.
func (c *connection) fail(err error) {
	c.load.first.CompareAndSwap(nil, &err)
	c.failed++
	if hopeless(err) {
		c.over.Store(true)
	}
}

// hopeless reports whether the next message would fare no better than one that
// ended with err: no session could be opened, or this side would not send it. A
// server that refuses or defers a message may take the next.
func hopeless(err error) bool {
	if e, ok := errors.AsType[*core.Error](err); ok && e.Stage < core.StageMail {
		return true
	}
	return core.ClassOf(err) == core.Local
}
